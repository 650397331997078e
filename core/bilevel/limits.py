"""Sizes up to which the way for small problems is the faster one, as measured; free of torch, for plans."""

FEW = 10_000
"""Numbers in the arguments of a step up to which its operators take more time than its multiplications."""
FUSED_CLASSES, FUSED_EXAMPLES = 32, 128
"""Of the largest task of softmax heads whose steps one kernel makes on a GPU."""
