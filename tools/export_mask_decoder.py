"""Export SAM's prompt encoder and mask decoder as the decoder of a bundle: N prompts on one embedding, one call."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.commands.export.mask_decoder import main

if __name__ == "__main__":
    sys.exit(main())
