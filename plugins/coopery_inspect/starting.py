"""`init`: a first recipe that runs as it stands, and says what else there is; or a draft."""

from __future__ import annotations

from pathlib import Path

from coopery.commands import Context
from coopery.errors import Problem, RecipeError
from coopery.formats import nearest_of

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
    """Write `recipe.toml`, `recipe.py`, or a draft.

    Raises RecipeError (`recipe-exists`, `path-exists`, `not-writable`).
    """
    arguments = context.arguments
    if arguments.kind is not None or arguments.source is not None:
        return _draft(context)
    name, content = ("recipe.py", PYTHON) if context.arguments.python else ("recipe.toml", TOML)
    folder = Path.cwd()
    for known in dict.fromkeys((*context.plugins.recipe_names(), name)):
        if (folder / known).exists():
            raise _exists(known)
    _write(folder / name, content, _exists(name))
    print(name)
    context.tell("try: coopery list, coopery run, coopery why count")
    return 0


def _draft(context: Context) -> int:
    """Begin a document with what is there already. Raises RecipeError."""
    arguments = context.arguments
    known = context.plugins.declare_drafts()
    if arguments.kind is None or arguments.source is None or arguments.python:
        raise _misused("a draft is begun with a kind and a source", "--from KIND SOURCE")
    if arguments.kind not in known:
        message = f"there is no kind of draft {arguments.kind!r}"
        raise _misused(message, nearest_of(arguments.kind, known) or "no plugin has any")
    drafted = known[arguments.kind].make(arguments.source, context)
    message = f"there is a {drafted.file} in this folder already"
    hint = "move it away, or start in another folder"
    exists = RecipeError(Problem(slug="path-exists", message=message, hint=hint))
    _write(Path.cwd() / drafted.file, drafted.text, exists)
    print(drafted.file)
    for line in drafted.told:
        context.tell(line)
    return 0


def _misused(message: str, hint: str) -> RecipeError:
    return RecipeError(Problem(slug="bad-command-line", message=message, hint=hint))


def _write(path: Path, text: str, exists: RecipeError) -> None:
    """Write a new file. Raises RecipeError: `exists`, or `not-writable`."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise exists from None  # a dangling link, or written this very moment
    except OSError as error:
        message = f"{path.name} cannot be written here: {error.strerror}"
        raise RecipeError(Problem(slug="not-writable", message=message)) from None


def _exists(name: str) -> RecipeError:
    message = f"there is a {name} in this folder already"
    hint = "edit it (coopery validate checks it), or start in another folder"
    return RecipeError(Problem(slug="recipe-exists", message=message, hint=hint))
