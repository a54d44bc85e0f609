"""What can go wrong and how it is said: problems are values, errors carry them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

KeyPath = tuple[str | int, ...]
"""Where a value stands in a recipe: `("task", "fit", "inputs", "table")`."""


def visible(text: str) -> str:
    """The text with control characters written out, so that none can steer a terminal."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text  # as nearly always, and long answers take their time letter by letter
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def show_key(key: KeyPath) -> str:
    """The key path as a person writes it: `task.fit.inputs.table`, `image.a.packages[0]`."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            # Anything but a bare TOML key is quoted, so that no name can write lines of its own.
            bare = part.replace("-", "_").isidentifier() or part.isdigit()
            text += ("." if text else "") + (part if bare else json.dumps(part))
    return text


def show_pointer(key: KeyPath) -> str:
    """The key path as a JSON pointer (RFC 6901): `/templates/0/value`, empty for the whole."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in key)
    return "".join("/" + json.dumps(part, ensure_ascii=False)[1:-1] for part in parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A position a user can go to. `line` counts from 1; any part may be unknown.

    In a JSON document, the key is shown as a `pointer`.
    """

    file: str | None = None
    line: int | None = None
    key: KeyPath = ()
    pointer: bool = False

    @property
    def shown_key(self) -> str:
        """The key as the document's people write it; empty where none is known."""
        return show_pointer(self.key) if self.pointer else show_key(self.key)

    def __str__(self) -> str:
        spot = self.file or ""
        if self.file and self.line is not None:
            spot += f":{self.line}"
        key = self.shown_key
        return f"{spot} ({key})" if spot and key else spot or key


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong: what, where, and how to mend it.

    `slug` is stable and is explained under that name in docs/reference/errors.md. A `warning` is
    told and stops nothing.
    """

    slug: str
    message: str
    place: Place = Place()
    hint: str | None = None
    warning: bool = False

    def __str__(self) -> str:
        where = f"{self.place}: " if str(self.place) else ""
        text = visible(f"{where}{self.message} [{self.slug}]")
        return f"{text}\n  hint: {visible(self.hint)}" if self.hint else text


class CooperyError(Exception):
    """A declared error: one or more problems, and the exit code they amount to."""

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    def located(self, place: Place) -> CooperyError:
        """The same error, with `place` where a problem had none."""
        bare = Place()
        return type(self)(
            *(replace(p, place=place) if p.place == bare else p for p in self.problems)
        )


class RecipeError(CooperyError):
    """The recipe or the command line is wrong (exit code 2)."""


class MachineError(CooperyError):
    """The machine lacks something: an engine, an index, an interpreter, disk (exit code 3)."""

    exit_code = 3


class MachineLost(MachineError):
    """What every step of a run needs is gone, such as its engine: a run starts nothing more."""


class BaseError(MachineError):
    """A base image cannot be had, or is of no use: it is told where the recipe asks for it."""


class StepError(CooperyError):
    """A step's work failed (exit code 1). `facts` go into its outcome, e.g. `exit_code`."""

    exit_code = 1

    def __init__(self, *problems: Problem, facts: dict[str, object] | None = None) -> None:
        super().__init__(*problems)
        self.facts = facts or {}


class StepSkipped(StepError):
    """A step's work says that there was nothing for it to do, by the `exit_code` in its `facts`.

    That is no failure: the step is skipped, as is what needs it, and nothing is remembered.
    """


def problem(
    slug: str, message: str, *, key: KeyPath = (), hint: str | None = None, file: str | None = None
) -> Problem:
    """A problem at a recipe's key; the reader of the recipe adds file and line."""
    return Problem(slug=slug, message=message, place=Place(file=file, key=key), hint=hint)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """A hint that offers the nearest known name, or lists what there is; None if nothing is."""
    import difflib

    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if not names:
        return None
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"there is: {shown}"
