"""Export an image encoder's checkpoint as the encoder of a bundle: `image` (1, 3, E, E) -> `image_embeddings`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.commands.export.image_encoder import main

if __name__ == "__main__":
    sys.exit(main())
