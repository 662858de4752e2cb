"""Make a float16 network of a float32 one, the image encoder or the detector, and tell what that costs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.commands.fp16.command import main

if __name__ == "__main__":
    sys.exit(main())
