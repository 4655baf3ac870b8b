"""The standard library of specs, as package data (`*.opt`)."""
