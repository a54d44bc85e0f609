"""Reading secrets: at the moment of use, each once, and hidden from then on in all that is said."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterable, Mapping

from coopery import masking
from coopery.errors import MachineError, Problem
from coopery.inherited import without_logins
from coopery.model import Secret

_TOOLS = ("GIT_CONFIG_",)
"""How variables begin by which a program is given credentials itself: these are its own."""
_withheld: set[str] = set()
_spared: set[str] = set()


def withhold(variables: Iterable[str]) -> None:
    """From now on, no process that coopery calls inherits these variables, which hold secrets."""
    _withheld.update(name for name in variables if not name.startswith(_TOOLS))


def spare(variables: Iterable[str]) -> None:
    """These are inherited all the same: a program that is called fills them in by itself."""
    _spared.update(variables)


def known_to_children(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables for a process that is called: without those that hold secrets, or credentials
    of indexes, which uv is told otherwise.
    """
    hidden = _withheld - _spared
    spared = {name: value for name, value in environment.items() if name in _spared}
    kept = {name: value for name, value in environment.items() if name not in hidden}
    return {**without_logins(kept), **spared}


SHORTEST = 4
"""What has fewer characters cannot be kept out of what is said: it stands in any text."""


class Secrets:
    """Reads secrets through whoever provides them.

    A value is kept in memory for as long as this reader lives, so that one import asks a keyring
    once; it is masked in all that this process says or writes (`coopery.masking`).
    """

    def __init__(self, provide: Callable[[Secret], str]) -> None:
        self._provide = provide
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "<secrets>"

    def read(self, secret: Secret) -> str:
        """The value. Raises MachineError (`secret-missing`, and what a provider raises)."""
        with self._lock:
            if secret.name not in self._known:
                _leave_no_dump()
                value = self._provide(secret)
                masking.keep_out(value)  # whoever provides it, plugin or not
                self._known[secret.name] = value
            return self._known[secret.name]

    def text(self, given: str | Secret | None) -> str | None:
        """What may be written in a recipe (a user's name) or named as a secret, as it is."""
        return self.read(given) if isinstance(given, Secret) else given


def too_short(secret: Secret) -> MachineError:
    """A value cannot be masked (`bad-secret`)."""
    message = (
        f"the secret {secret.name} has fewer than {SHORTEST} characters: masked wherever they "
        "stand, they would make all that is said unreadable"
    )
    hint = "take a longer one; a name that is none, such as a user's, may be written as text"
    return MachineError(Problem(slug="bad-secret", message=message, hint=hint))


def _leave_no_dump() -> None:
    """What crashes from now on, here or in a process that is called, leaves no memory on a disk."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def no_secrets() -> Secrets:
    """A reader for work that is given none."""

    def provide(secret: Secret) -> str:
        message = f"there is no secret {secret.name} here"
        raise MachineError(Problem(slug="secret-missing", message=message))

    return Secrets(provide)
