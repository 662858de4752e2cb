"""Make a bundle of a detector, an image encoder and a mask decoder: ONNX files or checkpoints."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.commands.bundle.make import main

if __name__ == "__main__":
    sys.exit(main())
