"""What training code expects of a `torch.optim.Optimizer`, tried on every class of the library.

An obligation is a function of a `Subject`: it raises if the class does not meet it, and returns the reason
where it does not apply. `tests/test_conformance.py` runs them all; `python -m tests.conformance` writes
the matrix, class by obligation, to docs/conformance.md.
"""
