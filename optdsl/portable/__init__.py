"""Arithmetic that is the same on every processor: functions of a few instructions, and who writes these.

`functions` says what exp, log, power ... are, in terms of `lanes`; NumPy computes with them, `llvm_text`
writes them as LLVM's language, for kernels on CPUs and GPUs and for Numba's. Imports nothing of optdsl.
"""
