"""What the parts of the store suite share: a store to test, and short ways to fill it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coopery.steps import Identity, Part, Record, Store, Success

SECONDS = 30
"""How long to wait for what must happen: much longer than it takes, for loaded machines."""


class StoreFixtures:
    """A store in a fresh home folder; `other` has the same home open, as another process does."""

    def open_store(self, home: Path) -> Store:
        """The store to be tested, in this home folder. Override it."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to open its store")

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        """The home folder: nothing is there yet."""
        return tmp_path / "home"

    @pytest.fixture
    def store(self, home: Path) -> Iterator[Store]:
        """A store."""
        opened = self.open_store(home)
        yield opened
        opened.close()

    @pytest.fixture
    def other(self, home: Path, store: Store) -> Iterator[Store]:
        """A second one, of the same home."""
        opened = self.open_store(home)
        yield opened
        opened.close()

    @contextmanager
    def process(self, home: Path, work: Callable[[Store], object]) -> Iterator[int]:
        """Another process that has done `work` with a store of its own, and sleeps; its id.

        It is killed at the end, without a chance to let go of anything.
        """
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(self.open_store(home))
                os.write(writing, b"1")
                time.sleep(10 * SECONDS)
            finally:
                os._exit(status)
        os.close(writing)
        try:
            assert os.read(reading, 1) == b"1", "what another process did with the store failed"
            yield child
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reading)


def wait_until(true: Callable[[], object], what: str) -> None:
    """Wait for what must happen soon."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


def put_text(store: Store, text: str, *, mode: int = 0o644) -> Identity:
    """Put a file with this text, as a task's output."""
    file = store.scratch("task") / "out"
    file.write_text(text, "utf-8")
    file.chmod(mode)
    return store.put(file)


def put_folder(store: Store, files: dict[str, str]) -> Identity:
    """Put a folder of such files."""
    folder = store.scratch("task") / "out"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return store.put(folder)


def bytes_at(store: Store, identity: Identity) -> Path:
    """Where the bytes are; they must be there."""
    path = store.find(identity)
    assert path is not None, f"{identity} is not found"
    return path


def record(key: str, **outputs: Identity) -> Record:
    """A record as the engine would keep it."""
    return Record(
        key=key,
        step="fit",
        kind="task",
        outputs=outputs,
        parts=(Part(name="params.depth", value="3"), Part(name="input x", value="ab", step="p")),
        run="20260101T000000000-aaaa",
        finished=1.5,
        facts={"exit_code": 0, "command": ["python", "-m", "iris"], "nested": {"ä": None}},
    )


def success(key: str, *keeps: Identity, step: str = "fit", recipe: str = "/r.toml") -> Success:
    """The latest success of a step."""
    digests = tuple(sorted(identity.digest for identity in keeps))
    return Success(recipe=recipe, step=step, key=key, keeps=digests, run="r1")
