"""What evaluations and reports of learned optimizers and learned data do, in numbers that plans reckon with too."""

DATA_RATES = tuple(10 ** (power / 2) for power in range(-4, 3))
"""From 0.01 to 10, two a decade: what the models of the report that are trained on real examples choose from."""
OPTIMIZER_RATES = tuple(10 ** (power / 3) for power in range(-15, 7))
"""From 1e-5 to 100, three a decade: what SGD, momentum and Adam choose from."""
TOGETHER = 100_000
"""Coordinates of tasks that an evaluation optimizes together."""
LOOKED_AT = 1000
"""Examples of a part that the loss of a model is measured on, where it is not that of a step."""
