"""Results in place: folders at an address made from the key, whole once they are marked so."""

from __future__ import annotations

from pathlib import Path

from coopery_store.copying import remove
from coopery_store.home import machine_errors, safe_name


class Places:
    """`places/<key>`, with `places/<key>.complete` beside what is complete."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.unsettled: set[str] = set()
        """Keys of places that are complete but not known to be durable."""

    def _paths(self, key: str) -> tuple[Path, Path]:
        folder = self._home / "places" / safe_name(key)
        return folder, folder.with_name(f"{folder.name}.complete")

    def place(self, key: str) -> Path:
        """An empty folder for this key. The caller holds the claim on it: what was there goes."""
        folder, mark = self._paths(key)
        with machine_errors(self._home):
            mark.unlink(missing_ok=True)
            remove(folder)
            folder.mkdir(mode=0o755)
        return folder

    def complete(self, key: str) -> None:
        """Mark a place as whole."""
        _, mark = self._paths(key)
        with machine_errors(self._home):
            mark.touch(mode=0o600)  # made durable with all it vouches for, before any record
        self.unsettled.add(key)

    def find(self, key: str) -> Path | None:
        """The folder, if it is there and whole."""
        folder, mark = self._paths(key)
        return folder if mark.exists() and folder.is_dir() else None

    def drop(self, key: str) -> None:
        """Remove a place."""
        folder, mark = self._paths(key)
        with machine_errors(self._home):
            mark.unlink(missing_ok=True)
            remove(folder)
