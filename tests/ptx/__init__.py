"""Tools that test PTX without a GPU: an interpreter that traps, a lint, ptxas, a fake driver."""
