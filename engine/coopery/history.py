"""What earlier runs of a recipe left in the store: their records, and the results in them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import groupby, islice, takewhile
from pathlib import Path
from typing import Any

from coopery.commands import Context
from coopery.errors import CooperyError, Problem, RecipeError
from coopery.memory import Memory
from coopery.opening import find_recipe
from coopery.records import read_run
from coopery.steps import Record, Store

Document = Mapping[str, Any]

DEPTH = 200
"""How many runs back a search goes: beyond, what is looked for is no help any more."""


class History:
    """The runs of one recipe, latest first (of all recipes when `file` is None).

    A home folder is shared by many projects, whose tasks may bear the same names; each run's
    record is read once.
    """

    def __init__(self, store: Store, file: Path | None) -> None:
        self.store = store
        self.file = file
        self.unreadable: dict[str, CooperyError] = {}
        """Of runs whose record was asked for and cannot be read, why."""
        self._documents: dict[str, Document | None] = {}
        self._entries: dict[str, dict[str, Document]] = {}
        self._memory = Memory(store, file) if file else None

    def read(self, run: str) -> Document | None:
        """A run's record; None when it cannot be read or is not kept any more."""
        if run not in self._documents:
            try:
                self._documents[run] = read_run(self.store, run)
            except CooperyError as error:
                slugs = {p.slug for p in error.problems}
                if not slugs <= {"unknown-run", "run-damaged", "run-format"}:
                    raise
                if slugs != {"unknown-run"}:
                    self.unreadable[run] = error
                self._documents[run] = None
        return self._documents[run]

    def runs(self) -> Iterator[str]:
        """The ids of this recipe's runs, latest first."""
        kept = list(self.store.runs())[:DEPTH]
        # Ids tell the second a run began in; within one, the records know better.
        for _, second in groupby(kept, key=lambda run: run.partition("-")[0]):
            for run in sorted(second, key=self._started, reverse=True):
                document = self.read(run)
                if document and self._is_mine(document):
                    yield run

    def living(self) -> Iterator[Document]:
        """The records of this recipe's runs under way, latest first."""
        for run in self.store.living():
            document = self.read(run)
            # It may have ended since the store was asked.
            if document and document["state"] == "running" and self._is_mine(document):
                yield document

    def _is_mine(self, document: Document) -> bool:
        return self.file is None or bool(document["recipe"] == str(self.file))

    def _started(self, run: str) -> str:
        return (self.read(run) or {}).get("started") or ""

    def entry(self, run: str, step: str) -> Document | None:
        """What the record of a run says of a step."""
        if run not in self._entries:
            document = self.read(run) or {}
            self._entries[run] = {entry["step"]: entry for entry in document.get("steps", ())}
        return self._entries[run].get(step)

    def steps(self, run: str) -> tuple[str, ...]:
        """The steps that a run's record tells of."""
        self.entry(run, "")
        return tuple(self._entries[run])

    def results(self, step: str, skip: int = 0) -> Iterator[Record]:
        """The remembered results of a step in this recipe's runs, latest first.

        The latest `skip` runs are left out.
        """
        seen = set()
        for run in islice(self.runs(), skip, None):
            entry = self.entry(run, step)
            if entry is None or entry["state"] != "succeeded" or entry["key"] in seen:
                continue
            seen.add(entry["key"])
            record = self.store.recall([entry["key"]]).get(entry["key"])
            if record is not None:
                yield record

    def latest(self, step: str) -> Record | None:
        """What the latest success of a step of this recipe came to."""
        return self._memory.latest(step) if self._memory else None

    def before(self, record: Record) -> Record | None:
        """The result of the same step before the run that made this one."""
        later = list(takewhile(lambda run: run != record.run, self.runs()))
        return next(
            (r for r in self.results(record.step, skip=len(later) + 1) if r.key != record.key),
            None,
        )


def find_run(store: Store, given: str, file: Path | None = None) -> str:
    """The run of this id, or whose id alone begins so. Raises RecipeError (`unknown-run`).

    The hint names a run of the recipe `file`, or of any when there is none.
    """
    runs = store.runs()
    if given in runs:
        return given
    found = [run for run in runs if run.startswith(given)] if given else []
    if len(found) == 1:
        return found[0]
    if found:
        message = f"{len(found)} runs begin with {given!r}"
        hint = f"the latest of them is {found[0]}"
    else:
        message = f"there is no run {given!r}"
        own = tuple(islice(History(store, file).runs(), 100))
        close = difflib.get_close_matches(given, own, n=1)
        latest = f"the latest is {own[0]}; coopery runs lists them" if own else None
        near = f"did you mean {close[0]!r}?" if close else latest
        hint = near or "nothing was run yet: coopery run"
    raise RecipeError(Problem(slug="unknown-run", message=message, hint=hint))


def latest_run(store: Store, file: Path | None) -> str:
    """The latest run of a recipe (of all when `file` is None). Raises RecipeError (`no-runs`)."""
    found = next(History(store, file).runs(), None)
    if found is None:
        message = f"no run of {file.name if file else 'any recipe'} is kept"
        raise RecipeError(Problem(slug="no-runs", message=message, hint="start one: coopery run"))
    return found


def recipe_file(context: Context) -> Path:
    """The recipe that `-f` names, or the nearest; it is not read. Raises RecipeError."""
    given = context.arguments.file
    return find_recipe(Path.cwd(), given, context.plugins, context.settings).file


def recipe_if_any(context: Context) -> Path | None:
    """As `recipe_file`; outside any project None, which stands for all recipes."""
    try:
        return recipe_file(context)
    except RecipeError as error:
        if context.arguments.file is not None or any(p.slug != "no-recipe" for p in error.problems):
            raise
        return None
