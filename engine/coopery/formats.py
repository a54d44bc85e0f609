"""Documents that people write for coopery besides recipes: what plugins tell of each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery.errors import Problem, nearest

if TYPE_CHECKING:
    from coopery.commands import Context
    from coopery.options import Settings


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A document that was found good: `about` it in a few words, and what should be told."""

    about: str
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of document, by its `name`, and what `coopery validate` and `coopery schema` do of it.

    `recognises` tells by a file's contents whether it is of this kind, without looking whether it
    is right; both it and `check` raise RecipeError for a file that cannot be read. `check` takes
    the file, how it is called in messages, what `--set` gave and the settings; it raises
    RecipeError with all that is wrong, each with its place. `schema` makes the JSON Schema, where
    there is one.
    """

    name: str
    doc: str
    recognises: Callable[[Path, str], bool]
    check: Callable[[Path, str, Sequence[str], Settings], Checked]
    schema: Callable[[], Mapping[str, Any]] | None = None


def nearest_of(name: str, known: Mapping[str, Format] | Mapping[str, Draft]) -> str | None:
    """A hint for a name that is no kind: the nearest, else what each of them is; None for none."""
    near = nearest(name, known)
    if near is None or near.startswith("did you mean"):
        return near
    return "there is: " + "; ".join(f"{kind} ({item.doc})" for kind, item in known.items())


@dataclass(frozen=True, kw_only=True)
class Drafted:
    """A first document: the `text` of a `file` in the current folder, and what is `told` of it."""

    file: str
    text: str
    told: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A way to begin a document with what is there already: `coopery init --from NAME SOURCE`.

    `make` takes the source, as the user names it, and the command's context; it writes nothing.
    """

    name: str
    doc: str
    make: Callable[[str, Context], Drafted]
