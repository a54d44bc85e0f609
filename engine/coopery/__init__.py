"""Coopery: Make for container tasks.

A recipe in Python imports what it says from here: `Image`, `Project`, `Git`,
`Resources`, `Retries`, `Input`, `Output`, `task`, `command`, `defaults`, `secret`. A script or a
notebook declares and runs them with a `Recipe`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coopery.authoring import (
        Git,
        Image,
        Input,
        Output,
        Project,
        Resources,
        Retries,
        command,
        defaults,
        family,
        registries,
        secret,
        task,
        template,
    )
    from coopery.interactive import Recipe, RunFailed
    from coopery.results import Results

__version__ = "0.1.0"

__all__ = [
    "Git",
    "Image",
    "Input",
    "Output",
    "Project",
    "Recipe",
    "Resources",
    "Results",
    "Retries",
    "RunFailed",
    "__version__",
    "command",
    "defaults",
    "family",
    "registries",
    "secret",
    "task",
    "template",
]


def __getattr__(name: str) -> Any:
    """Load the authoring names on first use, so that `coopery --version` stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'coopery' has no attribute {name!r}")
    import importlib

    homes = {"Recipe": "interactive", "RunFailed": "interactive", "Results": "results"}
    module = homes.get(name, "authoring")
    return getattr(importlib.import_module(f"coopery.{module}"), name)
