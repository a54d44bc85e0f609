"""The recipe of recipe.toml as Python: the same commands, so the same keys."""

from coopery import Image, Input, Output, Project, Resources, command

science = Image(
    packages=["matplotlib>=3.8,<4"],
    projects=[Project(".", mode="editable")],
)

prepare = command(
    "prepare",
    [
        *("python", "-m", "penguins.prepare"),
        *("--folds", "{params.folds}", "--seed", "{params.seed}"),
        *("{inputs.raw}", "{outputs.table}"),
    ],
    description="Drop incomplete rows and deal the others into folds",
    image=science,
    params={"folds": 5, "seed": 0},
    inputs={"raw": "data/penguins.csv"},
    outputs={"table": "build/table.csv"},
)

fit = command(
    "fit",
    [
        *("python", "-m", "penguins.fit"),
        *("--fold", "{matrix.fold}", "{inputs.table}", "{outputs.model}"),
    ],
    description="Fit a nearest-centroid model to all rows but those of one fold",
    image=science,
    matrix={"fold": [0, 1, 2]},
    inputs={"table": prepare.output("table")},
    outputs={"model": Output(name="model.json")},
    resources=Resources(cpu=1, memory="512Mi"),
    retries=1,
    timeout="5m",
)

score = command(
    "score",
    [
        *("python", "-m", "penguins.score"),
        *("{inputs.table}", "{inputs.models}", "{outputs.metrics}", "{outputs.plot}"),
    ],
    description="Score every model on the fold it has not seen, and draw the result",
    image=science,
    inputs={"table": prepare.output("table"), "models": Input(origin="fit.model")},
    outputs={"metrics": "build/metrics.json", "plot": "build/penguins.png"},
)
