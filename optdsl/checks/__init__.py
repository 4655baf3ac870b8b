"""What can be proved or refuted about a spec from its equations alone."""
