"""Takes a hint, claims a row, supervises one child process an experiment."""
