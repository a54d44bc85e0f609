"""`spec`: what an image can do, without starting it."""

from __future__ import annotations

import json

from coopery.commands import Context
from coopery_taskapi import finding


def run(context: Context) -> int:
    """Print an image's specification. Raises as `finding.look`."""
    found = finding.look(context.arguments.image, context)
    assert found.container is not None
    context.tell(f"from {found.source}")
    context.print(json.dumps(found.container.text.data, indent=2, ensure_ascii=False))
    return 0
