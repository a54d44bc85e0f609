"""The memory and the objects, in a home folder on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coopery.hooks import hookimpl

if TYPE_CHECKING:
    from coopery.options import Settings
    from coopery.steps import Store


@hookimpl(trylast=True)
def open_store(home: Path, settings: Settings) -> Store:
    """Open the home folder, making it where there is none."""
    from coopery_store.store import HomeStore

    return HomeStore(home)
