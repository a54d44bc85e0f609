"""The table that `prepare` writes and the other two read: species, four measurements, fold."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MEASUREMENTS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
COLUMNS = ("species", *MEASUREMENTS, "fold")


@dataclass(frozen=True, kw_only=True)
class Table:
    """One row per penguin: `species` (n,), `values` (n, 4) in mm and g, `folds` (n,)."""

    species: NDArray[np.str_]
    values: NDArray[np.float64]
    folds: NDArray[np.int64]

    def rows(self, chosen: NDArray[np.bool_]) -> Table:
        """The rows for which `chosen` (n,) is true."""
        return Table(
            species=self.species[chosen], values=self.values[chosen], folds=self.folds[chosen]
        )


def read(path: Path) -> Table:
    """The table in this CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    return Table(
        species=np.array([row["species"] for row in rows]),
        values=np.array([[float(row[name]) for name in MEASUREMENTS] for row in rows]),
        folds=np.array([int(row["fold"]) for row in rows]),
    )
