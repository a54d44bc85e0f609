"""Every hook is documented with a plugin one could paste, and has its typed method."""

from __future__ import annotations

import inspect

import pytest

from coopery import hooks
from coopery.plugins import Plugins

HOOKS = sorted(
    name
    for name, value in vars(hooks).items()
    if inspect.isfunction(value) and hasattr(value, "coopery_spec")
)


def test_there_are_hooks() -> None:
    assert "perform" in HOOKS
    assert len(HOOKS) > 12


@pytest.mark.parametrize("name", HOOKS)
def test_is_documented_and_typed(name: str) -> None:
    hook = getattr(hooks, name)
    doc = inspect.getdoc(hook) or ""
    kind = "First" if hook.coopery_spec["firstresult"] else "All"
    assert doc.startswith(f"{kind}: ")
    assert "@hookimpl" in doc
    assert f"def {name}(" in doc
    method = getattr(Plugins, name)
    expected = list(inspect.signature(hook).parameters)
    assert [p for p in inspect.signature(method).parameters if p != "self"] == expected
