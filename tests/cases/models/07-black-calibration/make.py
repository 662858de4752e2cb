import sys
from pathlib import Path

import cv2
import numpy as np

o = Path(sys.argv[1])
o.mkdir(parents=True, exist_ok=True)
for i in range(4):
    cv2.imwrite(str(o / f"{i}.png"), np.zeros((480, 640, 3), np.uint8))
