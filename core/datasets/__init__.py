"""One file a data set, loaded to tensors; splits and episodes. This module and `catalog` are free of torch."""
