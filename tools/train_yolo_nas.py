"""Train YOLO-NAS on a COCO data set or the simulated line, from scratch or from a checkpoint."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.commands.train.detector import main

if __name__ == "__main__":
    sys.exit(main())
