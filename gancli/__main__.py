"""`python -m gancli` is `gan`."""

import sys

from gancli.cli import main

if __name__ == "__main__":
    sys.exit(main())
