"""The public Python client and the `bilevel` command; speaks HTTP only."""
