"""Drop incomplete rows and deal the others into folds."""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

from penguins.tables import COLUMNS, MEASUREMENTS


def prepare(raw: Path, table: Path, folds: int, seed: int) -> None:
    """Write the complete rows of `raw` to `table`, each with the number of its fold.

    The rows keep their order; the same seed gives the same folds.
    """
    with raw.open(newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if all(r[name] != "NA" for name in MEASUREMENTS)]
    dealt = [index % folds for index in range(len(rows))]
    random.Random(seed).shuffle(dealt)
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row, fold in zip(rows, dealt, strict=True):
            writer.writerow([row["species"], *(row[name] for name in MEASUREMENTS), fold])
    print(f"{len(rows)} rows in {folds} folds")


def main() -> None:
    """`python -m penguins.prepare --folds N --seed N RAW TABLE`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("raw", type=Path)
    parser.add_argument("table", type=Path)
    given = parser.parse_args()
    prepare(given.raw, given.table, given.folds, given.seed)


if __name__ == "__main__":
    main()
