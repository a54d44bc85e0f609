"""`stop`: end a run from elsewhere, as Ctrl-C would where it runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from coopery.commands import Context
from coopery.errors import Problem, RecipeError
from coopery.history import History
from coopery.records import read_run
from coopery.run_files import meant
from coopery.steps import Store
from coopery_inspect import summaries

_PULSE = 0.05
"""Seconds between two looks at whether the run lives."""


def run(context: Context) -> int:
    """Ask a run to stop, and wait until it has.

    Raises RecipeError: `unknown-run`, `not-running`, `which-run` when several run and none is
    named.
    """
    arguments = context.arguments
    given = arguments.living_run
    with meant(context, given) as named:
        store = named.living_store
        found = _only(History(store, named.recipe)) if given is None else named.find()
        if not store.stop_run(found, force=arguments.now):
            raise _ended(store, found)
        if arguments.wait:
            _wait(store, found)
        document = read_run(store, found)
    if summaries.lives(document):
        text = f"run {found} was asked to stop"
    else:
        text = (
            f"run {found}: {summaries.state(document)} after {summaries.took(document)}, "
            f"{summaries.counted(document)}"
        )
    context.answer(summaries.summary(document), text)
    return 0


def _only(history: History) -> str:
    """The one run of the recipe that is under way."""
    living: Sequence[str] = [document["run"] for document in history.living()]
    whose = f" of {history.file.name}" if history.file else ""
    if not living:
        message = f"no run{whose} is under way"
        hint = "coopery runs tells how the latest ended" + (
            "; --all, those of all recipes" if history.file else ""
        )
        raise RecipeError(Problem(slug="not-running", message=message, hint=hint))
    if len(living) > 1:
        message = f"{len(living)} runs{whose} are under way"
        hint = f"name one: {', '.join(living)}"
        raise RecipeError(Problem(slug="which-run", message=message, hint=hint))
    return living[0]


def _ended(store: Store, run: str) -> RecipeError:
    state = summaries.state(read_run(store, run))
    message = f"run {run} is not under way: {state}"
    hint = f"nothing needs to be stopped: coopery show {run}"
    return RecipeError(Problem(slug="not-running", message=message, hint=hint))


def _wait(store: Store, run: str) -> None:
    while run in store.living():
        time.sleep(_PULSE)
