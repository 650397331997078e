"""A problem, a model and a data set of one's own: `spec` says what they are, the other modules do the work."""
