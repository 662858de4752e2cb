"""The verb `nanoseg eval`, for a checkout that is not installed; takes the same flags."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.cli import main

if __name__ == "__main__":
    main("eval")
