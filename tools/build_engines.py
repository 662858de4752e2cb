"""Build a bundle's engines for this device: `nanoseg build`, with the same flags.

examples:
  python tools/build_engines.py --bundle bundles/parts
  python tools/build_engines.py --bundle bundles/parts --target tensorrt-rtx --dry-run     # needs no GPU
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: nanoseg is found from the folder above
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nanoseg.cli import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the verb; returns its exit code."""
    return run_command(["build", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
