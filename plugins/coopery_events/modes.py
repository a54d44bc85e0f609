"""What may be written to a stream: how much, whether colours, whether a display that moves."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, TextIO

from coopery.errors import RecipeError, problem

if TYPE_CHECKING:
    from coopery.options import Settings
    from coopery_events import EventOptions

STRENGTH = ("default", "pyproject", "environment", "flag")


class Volume(Enum):
    """How much of the story is told."""

    QUIET = "quiet"
    NORMAL = "normal"
    VERBOSE = "verbose"


def volume_of(settings: Settings, options: EventOptions) -> Volume:
    """The volume that is asked for; a flag wins over a variable, that over pyproject.toml.

    Raises RecipeError (`contradicting-options`) when both are asked for in one place.
    """
    if options.quiet and options.verbose:
        quiet, verbose = (settings.source(type(options), name) for name in ("quiet", "verbose"))
        if quiet == verbose:
            message = f"quiet and verbose contradict each other (both: {quiet})"
            raise RecipeError(problem("contradicting-options", message, hint="drop one of them"))
        stronger = max(quiet, verbose, key=STRENGTH.index)
        return Volume.QUIET if stronger == quiet else Volume.VERBOSE
    if options.quiet:
        return Volume.QUIET
    return Volume.VERBOSE if options.verbose else Volume.NORMAL


def is_terminal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether the stream is a terminal that understands how to move its cursor."""
    return stream.isatty() and environ.get("TERM", "") not in ("", "dumb", "unknown")


def is_live(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a display may move: on a terminal, but in no CI system, which keeps what it saw."""
    in_ci = environ.get("CI", "").lower() not in ("", "0", "false", "no")
    return is_terminal(stream, environ) and not in_ci


def has_color(stream: TextIO, when: str, environ: Mapping[str, str]) -> bool:
    """Whether to colour: the option decides, then NO_COLOR, then FORCE_COLOR, then the stream.

    The variables count when they are set and not empty (no-color.org, force-color.org).
    """
    if when != "auto":
        return when == "always"
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or is_terminal(stream, environ)
