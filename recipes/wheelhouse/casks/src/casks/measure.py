"""`python -m casks.measure CASKS MEASURES`: what each cask holds and takes, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import casks


def main(source: str, target: str) -> None:
    """Measure every cask of a table."""
    measures = {
        cask.name: {"litres": round(cask.litres, 1), "iron": round(cask.iron, 3)}
        for cask in casks.read(Path(source))
    }
    Path(target).write_text(json.dumps(measures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
