"""Run files: what a run left outside of its home folder, by which it is found from anywhere."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coopery import asked_files, record_check
from coopery.commands import Context
from coopery.errors import MachineError, Problem, RecipeError
from coopery.history import find_run, latest_run, recipe_if_any
from coopery.options import CoreOptions, Settings, Sourced
from coopery.records import read_run
from coopery.session import open_store
from coopery.steps import Store

Document = Mapping[str, Any]

MOST = 1 << 28
"""No run file is longer than so many bytes."""


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """A run file as it was read: `document` is the record as it was when it was written."""

    shown: str
    document: Document

    @property
    def run(self) -> str:
        """The run's id."""
        return str(self.document["run"])

    @property
    def home(self) -> Path:
        """The home folder that the run is in."""
        return Path(self.document["home"])

    def alone(self) -> Document:
        """The record where nothing else is left: what was under way then has not ended well."""
        if self.document["state"] != "running":
            return self.document
        return {**self.document, "state": "killed"}


def document_of(record: Document, home: Path) -> dict[str, Any]:
    """What a run file holds: the record, and the home folder after the run's id."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        found[key] = value
        if key == "run":
            found["home"] = str(home)
    return found


# -- writing --------------------------------------------------------------------------------------


def refusal(name: str, option: str) -> Problem | None:
    """Why no run file may be written there, as far as looking tells; nothing is made."""
    if not name:
        hint = "name a file, such as run.json"
        return Problem(slug="bad-option", message=f"{option}: it is empty", hint=hint)
    found = asked_files.unwritable(name, option)
    if found is not None:
        return found
    try:
        # What is empty was made for it, as by mktemp; nothing is lost with it.
        if not os.path.lexists(name) or (Path(name).is_file() and not Path(name).stat().st_size):
            return None
        read(name)
    except (RecipeError, MachineError) as error:
        if error.problems[0].slug == "run-format":
            return None  # of another coopery, but one
        message = f"{option}: {error.problems[0].message}; it is not overwritten"
        return Problem(slug="no-run-file", message=message, hint="name another file, or remove it")
    except OSError as error:
        return Problem(slug="not-writable", message=f"{option}: {name}: {error.strerror}")
    return None


def write(name: str, document: Document, option: str) -> str | None:
    """Write it, atomically; or why it was not: by now it tells of a later run.

    Raises MachineError (`not-writable`, `disk-full`).
    """
    if document["state"] != "running" and Path(name).is_file():
        try:
            other = read(name).run
        except (RecipeError, MachineError):
            other = document["run"]
        if other > document["run"]:
            return f"{option}: {name} tells of run {other} by now, and is left alone"
    lines = [f" {json.dumps(key)}: {_shown(value)}" for key, value in document.items()]
    asked_files.write(name, "{\n" + ",\n".join(lines) + "\n}\n", option)
    return None


def _shown(value: Any) -> str:
    """JSON with a line for each step."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
    return json.dumps(value)


# -- reading --------------------------------------------------------------------------------------


def looks_like_one(given: str) -> bool:
    """Whether a word that names a run means a file: it has a slash, or ends as one does."""
    return "/" in given or given.endswith(".json")


def is_run_file(name: str) -> bool:
    """Whether there is a run file, as far as its first bytes tell."""
    if not looks_like_one(name):
        return False
    try:
        path = Path(name)
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(1 << 12)
    except (OSError, ValueError):
        return False
    return start[:1] == b"{" and all(f'"{key}":'.encode() in start for key in ("run", "home"))


def read(name: str) -> RunFile:
    """Read a run file.

    Raises RecipeError (`unknown-run` where there is no file, `no-run-file`) and MachineError
    (`run-format`).
    """
    content = b""
    try:
        path = Path(name)
        if path.exists() and not path.is_file():  # to open a pipe would wait for somebody
            raise _not_one(name, "it is a folder" if path.is_dir() else "it is no regular file")
        with path.open("rb") as file:
            content = file.read(MOST)
        document = json.loads(content)
    except FileNotFoundError:
        message = f"there is no run file {name}"
        hint = "`coopery run --output FILE` writes one; coopery runs lists the ids of runs"
        raise RecipeError(Problem(slug="unknown-run", message=message, hint=hint)) from None
    except OSError as error:
        raise _not_one(name, error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:
        what = f"it is no JSON: {error}" if content else "it is empty"
        raise _not_one(name, what) from None
    if not isinstance(document, dict):
        raise _not_one(name, "it holds no object")
    for key in ("run", "home"):
        if not isinstance(document.get(key), str):
            raise _not_one(name, f"it does not say `{key}`")
    if not Path(document["home"]).is_absolute():
        raise _not_one(name, "its `home` is no absolute path")
    try:
        record_check.check(document["run"], document)
    except MachineError as error:
        if error.problems[0].slug == "run-format":
            raise
        raise _not_one(name, error.problems[0].message.partition(" is damaged: ")[2]) from None
    return RunFile(shown=name, document=document)


def _not_one(name: str, why: str) -> RecipeError:
    hint = "`coopery run --output FILE` writes one"
    message = f"{name} is no run file: {why}"
    return RecipeError(Problem(slug="no-run-file", message=message, hint=hint))


# -- finding a run --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Meant:
    """Where to look for the run that a command's argument names, if it names one.

    `given` is its id, or how that begins; with a run file, `file`, it is the whole. `store` is
    None where the file's home folder is gone.
    """

    context: Context
    home: Path
    store: Store | None
    given: str | None
    file: RunFile | None = None

    @property
    def recipe(self) -> Path | None:
        """The recipe whose runs are meant where none is named; None for all."""
        return None if self.file else recipe_if_any(self.context)

    def find(self) -> str:
        """The id of the run that is named. Raises RecipeError (`unknown-run`)."""
        if self.file is None:
            assert self.store is not None and self.given is not None
            return find_run(self.store, self.given, self.recipe)
        if self.store is None or self.file.run not in self.store.runs():
            hint = f"coopery show {self.file.shown} tells what the file says of it"
            raise RecipeError(Problem(slug="unknown-run", message=self._gone(), hint=hint))
        return self.file.run

    def _gone(self) -> str:
        assert self.file is not None
        why = "is gone" if self.store is None else "does not have it any more"
        return f"run {self.file.run} is only known from {self.file.shown}: {self.home} {why}"

    def read(self) -> Document:
        """The record of the run that is named; that of its file where nothing else is left.

        Raises RecipeError (`unknown-run`) and MachineError (`run-damaged`, `run-format`).
        """
        if self.file and (self.store is None or self.file.run not in self.store.runs()):
            self.context.tell(f"note: {self._gone()}")
            return self.file.alone()
        assert self.store is not None
        return read_run(self.store, self.find())

    @property
    def living_store(self) -> Store:
        """The store. Raises RecipeError (`unknown-run`) where the file's home folder is gone."""
        if self.store is None:
            self.find()
        assert self.store is not None
        return self.store


@contextmanager
def meant(context: Context, given: str | None) -> Iterator[Meant]:
    """Open the store that the run which is named is in: a run file says, or else the settings.

    Raises RecipeError (`no-run-file`, `unknown-run`) and MachineError (`run-format`).
    """
    with ExitStack() as stack:
        if given is None or not looks_like_one(given):
            store = stack.enter_context(open_store(context.plugins, context.settings))
            yield Meant(context=context, home=context.settings.home, store=store, given=given)
            return
        file = read(given)
        settings = context.settings
        if settings.source(CoreOptions, "home") != "flag":  # it may have been moved elsewhere
            settings = _with_home(settings, file.home)
        store_there = None
        if _is_home(settings.home):
            store_there = stack.enter_context(open_store(context.plugins, settings))
        yield Meant(
            context=context, home=settings.home, store=store_there, given=file.run, file=file
        )


def _is_home(home: Path) -> bool:
    """Whether there is a home folder: to open a store makes one, and a file may name any folder."""
    return (home / "version").is_file()


def _with_home(settings: Settings, home: Path) -> Settings:
    core = {**settings.values[CoreOptions], "home": Sourced(str(home), "flag")}
    return dataclasses.replace(settings, values={**settings.values, CoreOptions: core})


def meant_run(context: Context, given: str | None) -> Document:
    """The record of the run that is named, else of the recipe's latest, else of the latest of all.

    Raises RecipeError (`unknown-run`, `no-runs`, `no-run-file`) and MachineError (`run-damaged`,
    `run-format`).
    """
    with meant(context, given) as found:
        if given is not None:
            return found.read()
        assert found.store is not None
        return read_run(found.store, latest_run(found.store, found.recipe))
