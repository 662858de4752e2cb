"""nanoseg against other systems on the same frames, in turns within one process: the ratio of times, and its interval.

    python benchmarks/peer.py nanosam                        # NanoSAM's predictor, re-created
    python benchmarks/peer.py segment-anything               # its own predictor, with the same networks
    python benchmarks/peer.py opencv-dnn                     # cv2.dnn with the same detector
    python benchmarks/peer.py ultralytics                    # its own pipeline of an ONNX file: another network
    python benchmarks/peer.py super-gradients-nms            # its NMS, by torchvision and by ONNX Runtime
    python benchmarks/peer.py masks                          # mask upsampling of supervision and of OpenCV
    python benchmarks/peer.py nanosam --rounds 30 --json way.json

`ratio` is nanoseg's time divided by the peer's: below 1, nanoseg is faster. The first comparison makes a bundle of
full-size networks with random weights in --work, a minute or two, which later ones find there: times are compared,
never what is found. What each does, and what it leaves out, stands at the top of its file in benchmarks/peers.

segment-anything, ultralytics and super-gradients-nms need libraries that nanoseg does not: `make peers` installs them
in .venv-peers (6 GB), which is used where this Python lacks them; $NANOSEG_PEERS_PYTHON names another.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import common
from environment import ROOT
from nanoseg.errors import DependencyError, UsageError

MIN_ROUNDS = 8  # of an interval
OTHER_PYTHON = ".venv-peers/bin/python"


class Peer(NamedTuple):
    """One comparison."""

    module: str
    rounds: int  # by default
    libraries: tuple[str, ...] = ()  # modules beyond those of the development environment


PEERS = {
    "nanosam": Peer("peers.nanosam.way", 15),
    "segment-anything": Peer("peers.segment_anything", 12, ("segment_anything", "torchvision")),
    "opencv-dnn": Peer("peers.opencv_dnn", 30),
    "ultralytics": Peer("peers.ultralytics_onnx", 30, ("ultralytics", "torchvision")),
    "super-gradients-nms": Peer("peers.super_gradients_nms", 150, ("torchvision",)),
    "masks": Peer("peers.mask_upsampling", 200),
}


def missing(peer: Peer) -> list[str]:
    """Return the libraries of a comparison that this Python lacks."""
    return [name for name in peer.libraries if importlib.util.find_spec(name) is None]


def other_python(lacking: list[str]) -> Path:
    """Return the Python that has the libraries; raises DependencyError where there is none."""
    python = Path(os.environ.get("NANOSEG_PEERS_PYTHON") or ROOT / OTHER_PYTHON)
    # Not twice: that Python lacks them, too.
    if not python.exists() or python.absolute() == Path(sys.executable).absolute():
        raise DependencyError(f"left out: it needs {', '.join(lacking)}: make peers")
    return python


def measure(name: str, size_wh: tuple[int, int], options: Any) -> dict[str, Any]:
    """Return the figures of a comparison."""
    from peers.settings import Settings

    settings = Settings(size_wh, options.rounds, options.objects, options.work, options.bundle)
    found: dict[str, Any] = importlib.import_module(PEERS[name].module).measure(settings)
    return {"peer": name, **found, "frame": options.frame, "rounds": options.rounds}


def main() -> int:
    """Parse, measure, print."""
    parser = common.flags(__doc__, frame="1280x720", rounds=None)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--objects", type=int, default=10, metavar="N", help="so many boxes (default: %(default)s)")
    parser.add_argument("--bundle", help="a full-size bundle's folder; by default one is made in --work")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "runs/peers", metavar="DIR", help="for networks (default: runs/peers)"
    )
    options = parser.parse_args()
    peer = PEERS[options.peer]
    options.rounds = peer.rounds if options.rounds is None else options.rounds

    def report(size_wh: tuple[int, int]) -> dict[str, Any]:
        if options.rounds < MIN_ROUNDS:
            raise UsageError(f"--rounds: wanted {MIN_ROUNDS} or more for an interval, got {options.rounds}")
        if options.objects < 1:
            raise UsageError(f"--objects: wanted 1 or more, got {options.objects}")
        return measure(options.peer, size_wh, options)

    if lacking := missing(peer):
        try:
            python = other_python(lacking)
        except DependencyError as error:
            print(f"peer {options.peer}: {error}", file=sys.stderr)
            return error.exit_code
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run([python, *sys.argv], env=environment, check=False).returncode
    return common.run(f"peer {options.peer}", options, report)


if __name__ == "__main__":
    sys.exit(main())
