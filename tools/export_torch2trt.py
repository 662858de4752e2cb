"""Write a TensorRT engine as the state_dict of a torch2trt TRTModule, for code that loads those."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.commands.torch2trt.export_module import main

if __name__ == "__main__":
    sys.exit(main())
