"""The mathematics: bilevel problems, inner dynamics, hypergradients, algorithms; knows torch and nothing else."""
