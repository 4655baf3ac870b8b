"""What optdsl costs: programs that print tables."""
