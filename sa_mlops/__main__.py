"""`python -m sa_mlops` is `sa-mlops`."""

import sys

from sa_mlops.cli import main

if __name__ == "__main__":
    sys.exit(main())
