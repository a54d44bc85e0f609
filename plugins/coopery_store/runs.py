"""Runs: a record each, and the logs of their steps."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from coopery.errors import RecipeError, nearest, problem
from coopery.record_check import damaged
from coopery.writing import write_atomically
from coopery_store.home import machine_errors, safe_name
from coopery_store.leaving import is_debris
from coopery_store.locks import is_held, try_lock

_RECORD, _PROGRESS, _LOCK, _CONTROL = "record.json", "progress.jsonl", "lock", "control"
_STOP, _KILL, _END = b"s", b"k", b"e"

Document = Mapping[str, Any]


class Runs:
    """`runs/<id>/record.json` and `runs/<id>/logs/<step>.log`.

    While a run is under way, `lock` is held by its process, `progress.jsonl` grows, and `control`
    is a FIFO on which it hears that it should stop. So whether it lives is what the kernel says,
    and a message to the dead is refused.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._top = home / "runs"

    def _folder(self, run: str) -> Path:
        return self._top / safe_name(run)

    def log_path(self, run: str, step: str) -> Path:
        """See `coopery.steps.Store.log_path`; the folder it is in is there."""
        folder = self._folder(run) / "logs"
        with machine_errors(self._home):
            folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{safe_name(step)}.log"

    def begin(self, run: str, document: Document, stop: Callable[[bool], None]) -> Log:
        """See `coopery.steps.Store.begin_run`. Raises TypeError for what JSON cannot hold."""
        folder = self._folder(run)
        with machine_errors(self._home):
            folder.mkdir(parents=True, exist_ok=True)
            return Log(folder, document, stop)

    def alive(self, run: str) -> bool:
        """Whether the process of a run lives."""
        return is_held(self._folder(run) / _LOCK)

    def stop(self, run: str, *, force: bool) -> bool:
        """See `coopery.steps.Store.stop_run`."""
        control = self._folder(run) / _CONTROL
        try:
            # Nobody reads it when the run is dead: then opening it fails.
            descriptor = os.open(control, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            os.write(descriptor, _KILL if force else _STOP)
        except BrokenPipeError:
            return False
        finally:
            os.close(descriptor)
        return True

    def ids(self) -> Sequence[str]:
        """See `coopery.steps.Store.runs`: ids begin with a time stamp, so names give the order."""
        with machine_errors(self._home):
            found = [path.parent.name for path in self._top.glob(f"*/{_RECORD}")]
        return sorted((name for name in found if not is_debris(name)), reverse=True)

    def living(self) -> Sequence[str]:
        """See `coopery.steps.Store.living`: only these, and the killed, have a lock file."""
        with machine_errors(self._home):
            found = [path for path in self._top.glob(f"*/{_LOCK}") if is_held(path)]
            named = [path.parent.name for path in found if (path.parent / _RECORD).exists()]
        return sorted(named, reverse=True)

    def read(self, run: str) -> Document:
        """See `coopery.steps.Store.read_run`. Raises MachineError (`run-damaged`) besides."""
        folder = self._folder(run)
        alive = self.alive(run)  # first: what ends meanwhile has a final record then
        document = self._read(run, folder)
        if document.get("state") != "running":
            return document
        return {**document, "alive": alive, "progress": _progress(folder)}

    def _read(self, run: str, folder: Path) -> Document:
        path = folder / _RECORD
        with machine_errors(self._home):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                hint = nearest(run, self.ids())
                raise RecipeError(
                    problem("unknown-run", f"there is no run {run!r}", hint=hint)
                ) from None
        try:
            document = json.loads(content)
        except ValueError as error:
            raise damaged(run, str(error)) from error
        if not isinstance(document, dict) or not isinstance(document.get("state"), str):
            raise damaged(run, "it is no record of a run")
        return document


class Log:
    """The record of a run that is under way: `coopery.steps.RunLog`."""

    def __init__(self, folder: Path, document: Document, stop: Callable[[bool], None]) -> None:
        self._folder = folder
        lock = try_lock(folder / _LOCK)
        if lock is None:
            raise FileExistsError(f"another process has the run {folder.name}")
        self._lock = lock
        control = folder / _CONTROL
        if not control.exists():
            os.mkfifo(control, 0o600)
        # For reading and writing: to open it waits for nobody, and it has no end.
        self._control = os.open(control, os.O_RDWR | os.O_CLOEXEC)
        assert stat.S_ISFIFO(os.fstat(self._control).st_mode)
        self._listener = threading.Thread(target=self._listen, args=(stop,), daemon=True)
        self._listener.start()
        self._progress = -1
        write_atomically(folder / _RECORD, _lines(document).encode("ascii"))

    def _listen(self, stop: Callable[[bool], None]) -> None:
        while (said := os.read(self._control, 1)) != _END:
            stop(said == _KILL)

    def append(self, entries: Iterable[Document]) -> None:
        """See `coopery.steps.RunLog.append`."""
        content = "".join(f"{json.dumps(entry)}\n" for entry in entries)
        if not content:
            return
        with machine_errors(self._folder):
            if self._progress < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._progress = os.open(self._folder / _PROGRESS, flags, 0o600)
            view = memoryview(content.encode("ascii"))
            while view:
                view = view[os.write(self._progress, view) :]

    def end(self, document: Document) -> None:
        """See `coopery.steps.RunLog.end`."""
        with machine_errors(self._folder):
            write_atomically(self._folder / _RECORD, _lines(document).encode("ascii"))
            (self._folder / _PROGRESS).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """See `coopery.steps.RunLog.close`."""
        if self._lock < 0:
            return
        os.write(self._control, _END)
        self._listener.join()
        for name in (_CONTROL, _LOCK):
            (self._folder / name).unlink(missing_ok=True)
        for descriptor in (self._control, self._progress, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._progress = self._control = -1


def _progress(folder: Path) -> list[Document]:
    """What was added so far; a last line that is being written, or was cut off, is left out."""
    found: list[Document] = []
    with suppress(FileNotFoundError):
        for line in (folder / _PROGRESS).read_bytes().split(b"\n")[:-1]:
            with suppress(ValueError):
                found.append(json.loads(line))
    return found


def _lines(document: Document) -> str:
    """JSON with a line for each key, and for each item of a list of objects.

    Fit for `diff` and `grep`, and ten times as quick to write as JSON that is indented throughout.
    """
    encode = json.JSONEncoder().encode
    lines = []
    for key, value in document.items():
        text = encode(value)
        if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            text = "[\n  " + ",\n  ".join(encode(item) for item in value) + "\n ]"
        lines.append(f" {encode(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
