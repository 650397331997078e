"""Measured speed: every figure is a ratio to a baseline of the same run, because machines are noisy."""
