"""`python -m meshproof` is the meshproof command."""

from __future__ import annotations

import sys

from meshproof.cli import main

if __name__ == "__main__":
    sys.exit(main())
