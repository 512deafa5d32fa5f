"""The functional simulator: what a program computes, bit for bit, with no notion of time.

In:  a `Chip`, a `Program` and memory contents.   Out: memory contents after any legal order.
"""

from tapeout.sim.machine import Machine, Statistics

__all__ = ["Machine", "Statistics"]
