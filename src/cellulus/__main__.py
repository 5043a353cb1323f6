"""``python -m cellulus`` is the command ``cellulus``."""

from __future__ import annotations

import sys

from cellulus.cli import main

if __name__ == "__main__":
    sys.exit(main())
