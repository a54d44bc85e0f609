"""`init`: a first recipe that runs as it stands, and says what else there is."""

from __future__ import annotations

from pathlib import Path

from coopery.commands import Context
from coopery.errors import Problem, RecipeError

TOML = """\
# A recipe: tasks with named inputs and outputs. `coopery run` brings all of them up to date,
# and runs nothing again whose inputs, command and parameters are what they were.

[task.greet]
description = "Write a greeting"
params.who = "world"                      # coopery run --set greet.who=you
command = 'echo "Hello, {params.who}!" > "{outputs.greeting}"'
outputs.greeting = "build/greeting.txt"   # put there after the task succeeded

[task.count]
description = "Count the characters of the greeting"
command = 'wc -c < "{inputs.text}" > "{outputs.total}"'
inputs.text = { from = "greet.greeting" } # or a file of the project: inputs.text = "data/text.txt"
outputs.total = "build/count.txt"

# A task without an image runs with what this machine happens to hold (`list` marks it unpinned).
# An image gives it a Python with packages, locked in recipe.lock to exact versions:
#
# [image.science]
# packages = ["numpy>=2"]                 # any requirement pip understands
# projects = ["."]                        # this project's own package, as a wheel
#
# [task.fit]
# image = "science"
# matrix.fold = [0, 1, 2]                 # three instances: fit@fold=0, fit@fold=1, fit@fold=2
# command = ["python", "-m", "mine.fit", "{matrix.fold}", "{inputs.table}", "{outputs.model}"]
# inputs.table = "data/table.csv"
# outputs.model = {}                      # stays in the store: coopery get fit.model
"""

PYTHON = '''\
"""A recipe: tasks with named inputs and outputs. `coopery run` brings all of them up to date,
and runs nothing again whose inputs, command and parameters are what they were.
"""

from pathlib import Path

from coopery import command, task

greet = command(
    "greet",
    'echo "Hello, {params.who}!" > "{outputs.greeting}"',
    description="Write a greeting",
    params={"who": "world"},  # coopery run --set greet.who=you
    outputs={"greeting": "build/greeting.txt"},  # put there after the task succeeded
)


@task(
    description="Count the characters of the greeting",
    inputs={"text": greet.output("greeting")},  # or a file of the project: "data/text.txt"
    outputs={"total": "build/count.txt"},
)
def count(text: Path, total: Path) -> None:
    """A function is a task too: arguments named as inputs and outputs get their paths."""
    total.write_text(f"{len(text.read_text())}\\n")


# A task without an image runs with what this machine happens to hold (`list` marks it unpinned).
# An image gives it a Python with packages, locked in recipe.lock to exact versions:
#
# science = Image(packages=["numpy>=2"], projects=["."])
#
# @task(image=science, matrix={"fold": [0, 1, 2]}, inputs={"table": "data/table.csv"}, ...)
# def fit(table: Path, model: Path, fold: int) -> None: ...
'''


def run(context: Context) -> int:
    """Write `recipe.toml`, or `recipe.py`. Raises RecipeError (`recipe-exists`, `not-writable`)."""
    name, content = ("recipe.py", PYTHON) if context.arguments.python else ("recipe.toml", TOML)
    folder = Path.cwd()
    for known in dict.fromkeys((*context.plugins.recipe_names(), name)):
        if (folder / known).exists():
            raise _exists(known)
    try:
        with (folder / name).open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise _exists(name) from None  # a dangling link, or written this very moment
    except OSError as error:
        message = f"{name} cannot be written here: {error.strerror}"
        raise RecipeError(Problem(slug="not-writable", message=message)) from None
    print(name)
    context.tell("try: coopery list, coopery run, coopery why count")
    return 0


def _exists(name: str) -> RecipeError:
    message = f"there is a {name} in this folder already"
    hint = "edit it (coopery validate checks it), or start in another folder"
    return RecipeError(Problem(slug="recipe-exists", message=message, hint=hint))
