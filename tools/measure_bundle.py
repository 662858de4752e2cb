"""Measure a bundle against truth: as float32, as deployed in its own precisions, and as a CPU runs it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.commands.bundle.measure import main

if __name__ == "__main__":
    sys.exit(main())
