"""The library: a spec goes in, a stream of curve points and a result come out."""
