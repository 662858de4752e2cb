"""Fetch weights that others publish, whole and checked, and show what their licence allows."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.weights.fetch import main

if __name__ == "__main__":
    sys.exit(main())
