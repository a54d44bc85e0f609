"""Score every model on the fold it has not seen, and draw the result."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penguins import tables


def predict(model: dict[str, Any], values: NDArray[np.float64]) -> NDArray[np.str_]:
    """The species whose centroid is nearest, for `values` (n, 4) in mm and g; (n,)."""
    standard = (values - np.array(model["mean"])) / np.array(model["scale"])
    centroids = np.array(model["centroids"])
    distances = ((standard[:, None, :] - centroids[None, :, :]) ** 2).sum(axis=2)
    chosen: NDArray[np.str_] = np.array(model["species"])[distances.argmin(axis=1)]
    return chosen


def score(table: Path, models: Path, metrics: Path, plot: Path) -> None:
    """Write the accuracy of each model (JSON) and a plot (PNG); `models` holds `*/model.json`."""
    everything = tables.read(table)
    accuracy = {}
    wrong = np.zeros(len(everything.species), dtype=bool)
    held = np.zeros(len(everything.species), dtype=bool)
    for file in sorted(models.glob("*/model.json")):
        model = json.loads(file.read_text(encoding="utf-8"))
        unseen = everything.folds == model["fold"]
        misses = predict(model, everything.values[unseen]) != everything.species[unseen]
        held[unseen] = True
        wrong[unseen] = misses
        accuracy[f"fold={model['fold']}"] = round(1 - float(misses.mean()), 4)
    document = {
        "accuracy": accuracy,
        "mean": round(sum(accuracy.values()) / len(accuracy), 4),
        "rows": int(held.sum()),
    }
    metrics.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    draw(everything.rows(held), wrong[held], plot)
    print(f"mean accuracy {document['mean']} over {len(accuracy)} folds")


def draw(table: tables.Table, wrong: NDArray[np.bool_], plot: Path) -> None:
    """Bill length against bill depth, one colour per species, a ring around each miss."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=100, layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name in sorted(set(table.species.tolist())):
        chosen = table.species == name
        axes.scatter(table.values[chosen, 0], table.values[chosen, 1], s=14, label=name)
    axes.scatter(
        table.values[wrong, 0],
        table.values[wrong, 1],
        s=60,
        facecolors="none",
        edgecolors="black",
        label="taken for another",
    )
    axes.set_xlabel("bill length (mm)")
    axes.set_ylabel("bill depth (mm)")
    axes.legend()
    # The name of the software is left out, so that equal pictures are equal bytes.
    figure.savefig(plot, format="png", metadata={"Software": None})


def main() -> None:
    """`python -m penguins.score TABLE MODELS METRICS PLOT`."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("table", "models", "metrics", "plot"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    score(given.table, given.models, given.metrics, given.plot)


if __name__ == "__main__":
    main()
