"""Take the TensorRT engine out of a file of torch2trt, try it on this device, and note where it came from."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.commands.torch2trt.import_module import main

if __name__ == "__main__":
    sys.exit(main())
