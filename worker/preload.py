"""What the fork server loads once, so that a child has it when it starts. Nothing here may touch CUDA."""

import signal

import worker.child  # noqa: F401

# A service manager that stops a whole process group means the worker, which ends its children in good order;
# the fork server ends by itself when the last of them is gone.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
