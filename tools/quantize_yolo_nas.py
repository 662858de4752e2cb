"""Make an INT8 detector of a float one, by pictures it may learn its ranges from; and tell what that costs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.commands.quantize.command import main

if __name__ == "__main__":
    sys.exit(main())
