"""The builtin store does what every store must."""

from __future__ import annotations

from pathlib import Path

from coopery.steps import Store
from coopery.testing.suites import StoreSuite
from coopery_store.store import HomeStore


class TestHomeStore(StoreSuite):
    """The plugin `store`."""

    def open_store(self, home: Path) -> Store:
        return HomeStore(home)
