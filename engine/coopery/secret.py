"""Reading secrets: at the moment of use, each once, and hidden from then on in all that is said."""

from __future__ import annotations

import threading
from collections.abc import Callable

from coopery import masking
from coopery.errors import MachineError, Problem
from coopery.model import Secret


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
                value = self._provide(secret)
                masking.keep_out(value)
                self._known[secret.name] = value
            return self._known[secret.name]

    def text(self, given: str | Secret | None) -> str | None:
        """What may be written in a recipe (a user's name) or named as a secret, as it is."""
        return self.read(given) if isinstance(given, Secret) else given


def no_secrets() -> Secrets:
    """A reader for work that is given none."""

    def provide(secret: Secret) -> str:
        message = f"there is no secret {secret.name} here"
        raise MachineError(Problem(slug="secret-missing", message=message))

    return Secrets(provide)
