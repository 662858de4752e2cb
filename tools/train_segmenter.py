"""Train NanoSAM's encoder and SAM's decoder together, from masks, on a COCO data set or the simulated line."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.commands.train.segmenter import main

if __name__ == "__main__":
    sys.exit(main())
