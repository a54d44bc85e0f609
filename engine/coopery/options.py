"""Options: declared once as dataclass fields; each value knows where it came from.

A value is the flag's, else the environment variable's (`COOPERY_` and the field's name), else that
of `[tool.coopery]` in the pyproject.toml beside the recipe or above it, else the default.
"""

from __future__ import annotations

import dataclasses
import os
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from coopery import shapes
from coopery.errors import KeyPath, Place, Problem, RecipeError, nearest

if TYPE_CHECKING:
    import argparse

T = TypeVar("T")


def option(
    default: Any,
    *,
    help: str,
    short: str | None = None,
    metavar: str | None = None,
    flag: bool = True,
    performing: bool = False,
    reading: bool = False,
    least: float | None = None,
) -> Any:
    """A field of an option dataclass. With `flag=False` the command line does not offer it; one
    that is about `performing` steps, only with commands that do, and one that is about `reading`
    a recipe, with all that take `-f`. A number is `least` or more.
    """
    meta: dict[str, Any] = {"help": help, "short": short, "metavar": metavar, "flag": flag}
    meta |= {"performing": performing, "reading": reading, "least": least}
    return dataclasses.field(default=default, metadata=meta)


class Selection(StrEnum):
    """Which tasks run when targets are named (O2)."""

    NEEDED = "needed"
    """The targets and all that they need."""
    ONLY = "only"
    """The targets alone."""
    NEEDS_ONLY = "needs-only"
    """All that the targets need, without them."""
    DOWNSTREAM = "downstream"
    """The targets and all that depends on them."""


class LockPolicy(StrEnum):
    """What may happen to the lock file."""

    RENEW = "renew"
    """Entries that no longer hold are resolved again and written."""
    MEND = "mend"
    """As RENEW, and so are entries that were edited or damaged, which else are an error."""
    LOCKED = "locked"
    """An entry that does not hold is an error (`lock-outdated`)."""
    PREVIEW = "preview"
    """Resolved where needed, never written."""
    UPGRADE = "upgrade"
    """Everything is resolved afresh."""


@dataclass(frozen=True)
class CoreOptions:
    """What the engine itself wants to know."""

    home: str = option("~/.coopery", help="the home folder", metavar="DIR")
    runtime: str | None = option(
        None, short="-r", help="where tasks run (default: local)", metavar="NAME"
    )
    jobs: int | None = option(
        None,
        short="-j",
        help="steps at a time (default: the number of cores)",
        metavar="N",
        performing=True,
    )


@dataclass(frozen=True)
class Sourced:
    """An option's value and its source: `flag`, `environment`, `pyproject` or `default`."""

    value: Any
    source: str


@dataclass(frozen=True)
class Settings:
    """All options' values; ask by type: `settings.get(CoreOptions).jobs`."""

    values: Mapping[type, Mapping[str, Sourced]]

    def get(self, kind: type[T]) -> T:
        """The options of this dataclass."""
        known = self.values.get(kind)
        if known is None:
            return kind()
        return kind(**{name: sourced.value for name, sourced in known.items()})

    def from_environment(self, name: str) -> object:
        """The value of an option that its variable gives, whatever plugin declares it; or None."""
        named = (table[name] for table in self.values.values() if name in table)
        return next((found.value for found in named if found.source == "environment"), None)

    def from_flags(self, name: str) -> tuple[str, ...]:
        """The values of an option that flags give, whatever plugin declares it."""
        named = (table[name] for table in self.values.values() if name in table)
        return next((tuple(found.value) for found in named if found.source == "flag"), ())

    def source(self, kind: type, name: str) -> str:
        """Where an option's value came from."""
        return self.values[kind][name].source if kind in self.values else "default"

    @property
    def home(self) -> Path:
        """The home folder, absolute."""
        return Path(self.get(CoreOptions).home).expanduser().absolute()

    @property
    def jobs(self) -> int:
        """How many steps may run at a time."""
        return self.get(CoreOptions).jobs or len(os.sched_getaffinity(0))


def about_reading(kinds: tuple[type, ...]) -> tuple[str, ...]:
    """The options of these dataclasses that are about reading a recipe."""
    items = (item for kind in kinds for item in dataclasses.fields(kind))
    return tuple(item.name for item in items if item.metadata.get("reading"))


def add_flags(
    parser: argparse.ArgumentParser,
    kinds: tuple[type, ...],
    only: tuple[str, ...] | None = None,
    *,
    performing: bool = True,
    reading: bool = True,
    helps: Mapping[str, str] | None = None,
) -> None:
    """Give `parser` a flag for every option of these dataclasses, or `only` for those named; those
    about `performing` steps, or `reading` a recipe, if it does. `helps` are texts that differ for
    this command, by name.
    """
    import argparse

    for kind in kinds:
        hints = typing.get_type_hints(kind)
        for item in dataclasses.fields(kind):
            meta = item.metadata
            if not meta.get("flag", True) or (only is not None and item.name not in only):
                continue
            if meta.get("performing") and not performing:
                continue
            if meta.get("reading") and not reading:
                continue
            names = [n for n in (meta.get("short"), f"--{item.name.replace('_', '-')}") if n]
            hint = _bare(hints[item.name])
            shared: dict[str, Any] = {"dest": f"{kind.__name__}.{item.name}", "help": meta["help"]}
            shared["help"] = (helps or {}).get(item.name) or meta["help"]
            if typing.get_origin(hint) is typing.Literal:
                choices = typing.get_args(hint)
                parser.add_argument(
                    *names, choices=choices, default=None, metavar=meta["metavar"], **shared
                )
            elif hint is bool:
                parser.add_argument(
                    *names, action=argparse.BooleanOptionalAction, default=None, **shared
                )
            elif typing.get_origin(hint) is tuple:
                parser.add_argument(
                    *names, action="append", default=None, metavar=meta["metavar"], **shared
                )
            else:
                parser.add_argument(
                    *names, type=hint, default=None, metavar=meta["metavar"], **shared
                )


def _bare(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(arg for arg in typing.get_args(hint) if arg is not type(None))
    return hint


def read_settings(
    kinds: tuple[type, ...],
    arguments: argparse.Namespace | None = None,
    start: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings from all sources. Raises RecipeError with every bad value at once."""
    environ = os.environ if environ is None else environ
    file, table = _pyproject(start or Path.cwd())
    problems: list[Problem] = []
    values: dict[type, dict[str, Sourced]] = {}
    known: set[str] = set()
    for kind in kinds:
        hints = typing.get_type_hints(kind, include_extras=True)
        values[kind] = {}
        for item in dataclasses.fields(kind):
            name = item.name.replace("_", "-")
            known |= {item.name, name}
            flag = getattr(arguments, f"{kind.__name__}.{item.name}", None)
            variable = f"COOPERY_{item.name.upper()}"
            sourced = Sourced(item.default, "default")
            if flag is not None:
                sourced = Sourced(tuple(flag) if isinstance(flag, list) else flag, "flag")
                problems += _misfits(sourced.value, hints[item.name], f"--{name}")
            elif variable in environ and environ[variable] != "":
                parsed = _from_text(environ[variable], _bare(hints[item.name]), variable, problems)
                sourced = Sourced(parsed, "environment")
                problems += _misfits(parsed, hints[item.name], f"the variable {variable}")
            elif item.name in table or name in table:
                raw = table.get(name, table.get(item.name))
                found: list[Problem] = []
                value = shapes.convert(raw, hints[item.name], ("tool", "coopery", name), found)
                problems += [dataclasses.replace(p, place=_place(file, p.place.key)) for p in found]
                sourced = Sourced(value, "pyproject")
            if sourced.value == "":
                by_flag = flag is not None
                message = f"{f'--{name}: ' if by_flag else ''}it is empty"
                place = Place() if by_flag else _place(file, ("tool", "coopery", name))
                hint = "leave it out, or say what is meant"
                problems.append(Problem(slug="bad-option", message=message, place=place, hint=hint))
            least = item.metadata.get("least")
            numeric = least is not None and isinstance(sourced.value, int | float)
            if numeric and sourced.value < least:
                message = f"--{name}: expected at least {least:g}, found {sourced.value}"
                problems.append(Problem(slug="bad-option", message=message))
            if kind is CoreOptions and item.name == "jobs":
                problems += _check_jobs(sourced)
            values[kind][item.name] = sourced
    for name in table:
        if name not in known:
            place = _place(file, ("tool", "coopery", name))
            problems.append(
                Problem(
                    slug="unknown-key",
                    message=f"unknown option {name!r}",
                    place=place,
                    hint=nearest(name, known),
                )
            )
    if problems:
        raise RecipeError(*problems)
    return Settings(cast("Mapping[type, Mapping[str, Sourced]]", values))


def _misfits(value: Any, hint: Any, where: str) -> list[Problem]:
    """What is wrong with the items of an option that may be given several times."""
    bare = _bare(hint)
    if typing.get_origin(bare) is not tuple or not value:
        return []
    found: list[Problem] = []
    shapes.convert(list(value), bare, (), found)
    return [dataclasses.replace(p, place=Place(file=where)) for p in found]


def _check_jobs(sourced: Sourced) -> list[Problem]:
    if not isinstance(sourced.value, int) or sourced.value > 0:
        return []
    message = f"--jobs: expected at least 1, found {sourced.value}"
    hint = "it is how many steps may run at once; leave it out for one per core"
    return [Problem(slug="bad-option", message=message, hint=hint)]


def _from_text(text: str, hint: Any, variable: str, problems: list[Problem]) -> Any:
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        if text in choices:
            return text
        message = f"{variable}={text!r}: expected one of {', '.join(choices)}"
        hint = nearest(text, choices)
        problems.append(Problem(slug="bad-option", message=message, hint=hint))
        return None
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    try:
        if hint is bool:
            return words[text.lower()]
        if typing.get_origin(hint) is tuple:
            return tuple(part for part in text.split(",") if part)
        return hint(text)
    except (KeyError, ValueError):
        message = f"{variable}={text!r}: not a {hint.__name__}"
        ways = {bool: "write 1 or 0", int: "write a whole number", float: "write a number"}
        mend = ways.get(hint, "unset it, or write another value")
        problems.append(Problem(slug="bad-option", message=message, hint=mend))
        return None


def _place(file: Path | None, key: KeyPath) -> Place:
    """Where an option stands in a pyproject.toml: its line after the header of its table.

    One that is written otherwise, such as in an inline table, has no line.
    """
    text = file.read_text("utf-8") if file else ""
    header = re.search(r"^\s*\[\s*tool\s*\.\s*coopery\s*\]", text, re.MULTILINE)
    name = re.escape(str(key[2]))
    names = name.replace("\\-", "[-_]")
    spot = re.compile(rf"""^\s*["']?{names}["']?\s*[=.]""", re.MULTILINE)
    found = spot.search(text, header.end()) if header else None
    line = text.count("\n", 0, found.end()) + 1 if found else None
    return Place(file=str(file), line=line, key=key)


def _pyproject(start: Path) -> tuple[Path | None, Mapping[str, Any]]:
    """The nearest pyproject.toml at or above `start` that has a `[tool.coopery]` table."""
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        # Not Path.is_file, which raises for folders that cannot be entered or be named.
        if not os.path.isfile(file):  # noqa: PTH113
            continue
        import tomllib

        text = file.read_text("utf-8", "replace")
        try:
            document = tomllib.loads(file.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            # Others read this file too, and refuse it; it matters here if it speaks of coopery.
            if "coopery" not in text:
                return None, {}
            from coopery.toml_faults import toml_problem

            raise RecipeError(toml_problem(file, text, str(error))) from None
        table = document.get("tool", {}).get("coopery")
        if isinstance(table, dict):
            return file, table
    return None, {}
