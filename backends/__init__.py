"""Backends, one file each, found by name through `optdsl.backend.get_backend`."""
