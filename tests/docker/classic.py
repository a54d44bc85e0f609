"""A plugin that makes coopery believe that the engine has no BuildKit."""

from __future__ import annotations

from typing import Any

import coopery_docker.client as client

_before = client.Engine.__init__


def _without(self: client.Engine, *arguments: Any) -> None:
    _before(self, *arguments)
    self.has_buildkit = False


client.Engine.__init__ = _without  # type: ignore[assignment, method-assign]
