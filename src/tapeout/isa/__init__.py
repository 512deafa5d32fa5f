"""The instruction set: the contract between the compiler, the simulators and the RTL.

In:  nothing.   Out: operations and instructions, their binary and text forms, and `Program`.
"""
