"""A store in a fresh home folder, and short ways to fill it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coopery.steps import Identity, Part, Record
from coopery_store.store import HomeStore

Make = Callable[[str], Record]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Iterator[HomeStore]:
    opened = HomeStore(home)
    yield opened
    opened.close()


def put_text(store: HomeStore, text: str, *, mode: int = 0o644) -> Identity:
    """Put a file with this text, as a task's output."""
    file = store.scratch("task") / "out"
    file.write_text(text)
    file.chmod(mode)
    return store.put(file)


def put_folder(store: HomeStore, files: dict[str, str]) -> Identity:
    """Put a folder of such files."""
    folder = store.scratch("task") / "out"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return store.put(folder)


def record(key: str, *, step: str = "fit", finished: float = 1.0, **outputs: Identity) -> Record:
    """A record as the engine would keep it."""
    return Record(
        key=key,
        step=step,
        kind="task",
        outputs=outputs,
        parts=(Part(name="params.depth", value="3"), Part(name="input x", value="ab", step="p")),
        run="20260101T000000-a",
        finished=finished,
        facts={"exit_code": 0, "command": ["python", "-m", "iris"], "name": "bad\udcff"},
    )
