"""`python -m coopery` is the command `coopery`."""

import sys

from coopery.cli import main

if __name__ == "__main__":
    sys.exit(main())
