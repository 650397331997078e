"""`bilevel reproduce`: the paper's experiments as sweeps on a running service, and a report of what came out."""
