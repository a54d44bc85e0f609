"""Fit a nearest-centroid model to all rows but those of one fold."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from penguins import tables


def fit(table: Path, model: Path, fold: int) -> None:
    """Write the model (JSON): the centroid of each species, in standardised measurements."""
    everything = tables.read(table)
    if fold not in everything.folds:
        raise SystemExit(f"there is no fold {fold}: they are {sorted(set(everything.folds))}")
    seen = everything.rows(everything.folds != fold)
    mean, scale = seen.values.mean(axis=0), seen.values.std(axis=0)
    standard = (seen.values - mean) / scale
    species = sorted(set(seen.species.tolist()))
    centroids = [standard[seen.species == name].mean(axis=0) for name in species]
    document = {
        "fold": fold,
        "mean": mean.tolist(),
        "scale": scale.tolist(),
        "species": species,
        "centroids": np.array(centroids).tolist(),
    }
    model.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"fold {fold}: fitted to {len(seen.species)} rows")


def main() -> None:
    """`python -m penguins.fit --fold N TABLE MODEL`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("table", type=Path)
    parser.add_argument("model", type=Path)
    given = parser.parse_args()
    fit(given.table, given.model, given.fold)


if __name__ == "__main__":
    main()
