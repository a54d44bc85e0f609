"""The recipe of recipe.toml as functions: other keys, the same bytes.

Each function imports what it needs inside itself, because the package `penguins` is there in the
image, not where the recipe is read.
"""

from pathlib import Path

from coopery import Image, Output, Project, Resources, task

science = Image(
    packages=["matplotlib>=3.8,<4"],
    projects=[Project(".", mode="editable")],
)


@task(
    image=science,
    inputs={"raw": "data/penguins.csv"},
    outputs={"table": "build/table.csv"},
)
def prepare(raw: Path, table: Path, folds: int = 5, seed: int = 0) -> None:
    """Drop incomplete rows and deal the others into folds."""
    from penguins import prepare as work

    work.prepare(raw, table, folds, seed)


@task(
    image=science,
    matrix={"fold": [0, 1, 2]},
    inputs={"table": prepare.output("table")},
    outputs={"model": Output(name="model.json")},
    resources=Resources(cpu=1, memory="512Mi"),
    retries=1,
    timeout="5m",
)
def fit(table: Path, model: Path, fold: int) -> None:
    """Fit a nearest-centroid model to all rows but those of one fold."""
    from penguins import fit as work

    work.fit(table, model, fold)


@task(
    image=science,
    inputs={"table": prepare.output("table"), "models": fit.output("model")},
    outputs={"metrics": "build/metrics.json", "plot": "build/penguins.png"},
)
def score(table: Path, models: Path, metrics: Path, plot: Path) -> None:
    """Score every model on the fold it has not seen, and draw the result."""
    from penguins import score as work

    work.score(table, models, metrics, plot)
