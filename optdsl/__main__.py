"""`python -m optdsl` is `optdsl`."""

import sys

from optdsl.cli import main

if __name__ == "__main__":
    sys.exit(main())
