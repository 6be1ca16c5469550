"""gancli trains every kind of GAN from the command line; a GAN is a game, see game.py."""

import os

# Read by OpenMP when torch is first imported. A thread that spins while its partner waits for a core wastes that core: with
# two other programs on two cores a step took twice to five times as long, and twice the processor time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"
