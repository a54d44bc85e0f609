"""Walk what a function reaches: remember what was met, how one got there, and what has a name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from coopery_functions.reach import Reach


class NoForm(Exception):
    """A value has no canonical form. `trail` tells how it was reached, outermost first."""

    def __init__(self, what: str, trail: tuple[str, ...], slug: str, hint: str) -> None:
        super().__init__(what)
        self.what, self.trail, self.slug, self.hint = what, trail, slug, hint


class Walk:
    """One walk. Functions and classes are numbered as they are met, so that cycles end."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self.met: dict[int, int] = {}
        self.kept: list[object] = []  # alive, so that no id is used twice
        self.open: dict[int, int] = {}  # containers being walked
        self.trail: list[str] = []

    def refuse(
        self,
        what: str,
        slug: str = "no-canonical-form",
        hint: str = "hand it over as a parameter or an input, or make it inside the function",
    ) -> NoForm:
        return NoForm(what, tuple(self.trail), slug, hint)

    @contextmanager
    def at(self, step: str) -> Iterator[None]:
        """Remember how the next value is reached; on failure the trail stays for the message."""
        self.trail.append(step)
        yield
        self.trail.pop()

    def portable(self, text: str) -> None:
        """A path into the project differs from checkout to checkout, and is no declared input."""
        root = self.reach.root
        if root != os.sep and (text == root or text.startswith(root + os.sep)):
            raise self.refuse(
                f"is a path into the project ({os.path.relpath(text, root)})",
                "project-path",
                "declare that file as an input of the task; the function gets its path",
            )

    @contextmanager
    def opened(self, value: object) -> Iterator[Any]:
        if id(value) in self.open:
            yield {"inside": self.open[id(value)]}
            return
        self.open[id(value)] = len(self.open)
        yield None
        del self.open[id(value)]

    def numbered(self, value: object) -> int | None:
        """The number under which a function or class was met before; None the first time."""
        if id(value) in self.met:
            return self.met[id(value)]
        self.met[id(value)] = len(self.met)
        self.kept.append(value)
        return None

    def named(self, value: Any) -> Any | None:
        """`module:qualname` where that will find the value again in the task's environment."""
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if not isinstance(module, str) or not isinstance(name, str) or self.reach.travels(module):
            return None
        found: Any = sys.modules[module]
        for part in name.split("."):
            found = getattr(found, part, None)
        return {"name": f"{module}:{name}"} if found is value else None

    def bound_in_module(self, value: Any) -> Any | None:
        """Methods that a module offers as its functions: `random.randint`."""
        owner, name = getattr(value, "__self__", None), getattr(value, "__name__", None)
        module = type(owner).__module__
        if owner is None or name is None or self.reach.travels(module):
            return None
        offered = getattr(sys.modules[module], name, None)
        return {"name": f"{module}:{name}"} if offered == value else None
