"""Secrets from variables, files and the keyring; and what a recipe names of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from coopery.commands import Command, Context
from coopery.hooks import hookimpl
from coopery.marks import Text
from coopery.options import option

if TYPE_CHECKING:
    from coopery.errors import Problem
    from coopery.findings import Finding
    from coopery.model import Recipe, Secret
    from coopery.options import Settings

_SOURCE = re.compile(
    r"[A-Za-z_][A-Za-z0-9_.-]{0,99}="
    r"(?:env:[A-Za-z_][A-Za-z0-9_]*|file:[^\0]+|keyring:[^\0]+/[^/\0]+)"
)
_FORMS = "NAME=env:VARIABLE, NAME=file:PATH or NAME=keyring:SERVICE/USER"


def check_source(text: str) -> str:
    """A secret's name and where it comes from. Raises ValueError, without repeating it."""
    if not _SOURCE.fullmatch(text):
        raise ValueError(f"expected {_FORMS}")
    return text


Source = Annotated[
    str,
    Text(
        check_source,
        pattern=rf"^{_SOURCE.pattern}$",
        what="where a secret comes from",
        mend="say where its value is, and never what it is: TOKEN=file:~/token.txt",
        quiet=True,
    ),
]


@dataclass(frozen=True)
class SecretOptions:
    """Where secrets come from."""

    secret: tuple[Source, ...] = option(
        (), help=f"where a secret comes from: {_FORMS}", metavar="NAME=SOURCE"
    )


@hookimpl
def declare_options() -> Sequence[type]:
    """`--secret`."""
    return [SecretOptions]


@hookimpl
def check(recipe: Recipe, settings: Settings) -> Iterable[Problem]:
    """What `--secret` says is clear; and no process inherits the variables that it names."""
    declared = settings.get(SecretOptions).secret
    if not declared:
        return ()
    from coopery_secrets import sources

    return sources.check(declared, recipe)


@hookimpl(trylast=True)
def provide_secret(secret: Secret, settings: Settings) -> str:
    """From where `--secret` says; else a variable, a file, the keyring, in this order.

    Raises MachineError: `secret-missing` with where it was looked for, `secret-exposed`,
    `bad-secret`, `keyring-failed`.
    """
    from coopery_secrets import sources

    return sources.find(secret.name, settings.get(SecretOptions).secret).value


@hookimpl
def diagnose(mend: bool, quick: bool) -> Iterable[Finding]:
    """Files of secrets that runs left which were killed."""
    from coopery_secrets import leftovers

    return leftovers.look(mend=mend, quick=quick)


@hookimpl
def add_commands() -> Sequence[Command]:
    """`secrets`."""
    from coopery.options import CoreOptions

    return [
        Command(
            name="secrets",
            help="list the secrets a recipe names: who uses them, and whether each is there",
            run=_run,
            json=True,
            options=(CoreOptions, SecretOptions),
            epilog="No value is shown. Exit code 0 when all are there, 3 otherwise.",
        )
    ]


def _run(context: Context) -> int:
    from coopery_secrets.listing import run

    return run(context)


__all__ = ["SecretOptions", "Source"]
