"""What the fork server loads once, so that a child has it when it starts. Nothing here may touch CUDA."""

import gc
import signal

import torch._dynamo  # noqa: F401  the first derivative would load it, for a second, in every child

import worker.child  # noqa: F401

# A service manager that stops a whole process group means the worker, which ends its children in good order;
# the fork server ends by itself when the last of them is gone.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

# A full collection in a child would look at all that is loaded here, and copy its memory: 0.2 s in the midst of a run.
gc.collect()
gc.freeze()
