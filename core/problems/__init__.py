"""What an experiment computes: one file a kind of bilevel problem."""
