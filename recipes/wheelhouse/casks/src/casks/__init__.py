"""What a cask holds, and what it takes to make it."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import hoops


@dataclass(frozen=True, kw_only=True)
class Cask:
    """A cask: `bilge` is its widest diameter, `head` that of its ends; all in metres."""

    name: str
    bilge: float
    head: float
    height: float

    @property
    def litres(self) -> float:
        """What it holds, by Kepler's rule for barrels."""
        return 1000 * math.pi * self.height * (2 * self.bilge**2 + self.head**2) / 12

    @property
    def iron(self) -> float:
        """Metres of iron for its four hoops: two at the bilge, one at each head."""
        girths = (self.bilge, self.bilge, self.head, self.head)
        return sum(hoops.length(hoops.girth(diameter)) for diameter in girths)


def read(path: Path) -> list[Cask]:
    """The casks of a table with the columns `name`, `bilge`, `head`, `height`."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Cask(
                name=row["name"],
                bilge=float(row["bilge"]),
                head=float(row["head"]),
                height=float(row["height"]),
            )
            for row in csv.DictReader(file)
        ]
