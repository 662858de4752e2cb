"""Export a YOLO-NAS checkpoint as the detector of a bundle: `images` (1, 3, S, S) -> `boxes`, `scores`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.commands.export.yolo_nas import main

if __name__ == "__main__":
    sys.exit(main())
