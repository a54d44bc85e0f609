"""Code from everywhere: two indexes, a project under development, Debian, and a function here."""

from pathlib import Path

from coopery import Image, Project, command, task

house = Image(
    requirements=["requirements.txt"],
    projects=[
        Project("hoops", mode="release"),  # as the private index has it, whatever lies here
        Project("casks", mode="editable"),  # as it lies here; it wants the other
    ],
    system=[{"name": "libgomp1", "local": "assume"}],  # installed in the image, assumed here
)

measure = command(
    "measure",
    ["python", "-m", "casks.measure", "{inputs.casks}", "{outputs.measures}"],
    description="What each cask holds, and the iron it takes",
    image=house,
    inputs={"casks": "data/casks.csv"},
    outputs={"measures": "build/measures.json"},
)


@task(
    image=house,
    inputs={"measures": measure.output("measures")},
    outputs={"order": "build/order.txt"},
)
def order(measures: Path, order: Path, spare: float = 0.1) -> None:
    """The iron to order, with some to spare, as a table for the smith."""
    import json

    from tabulate import tabulate

    found = json.loads(measures.read_text("utf-8"))
    rows = [(name, one["litres"], one["iron"] * (1 + spare)) for name, one in found.items()]
    rows.append(("all", sum(r[1] for r in rows), sum(r[2] for r in rows)))
    headers = ("cask", "litres", "iron in m")
    order.write_text(tabulate(rows, headers=headers, floatfmt=".2f") + "\n", "utf-8")
