"""`logs --follow`: print the logs of a run under way as they grow."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from coopery import selecting
from coopery.commands import Context
from coopery.errors import Problem, RecipeError
from coopery.history import History
from coopery.records import read_run
from coopery.steps import Store
from coopery_inspect import summaries
from coopery_inspect.logs import in_recipe, made_in, seek_tail, tasks_of

PULSE = 0.1
"""Seconds between two looks at the logs."""

RESTRAINT = 10
"""At most one part in so many of the time goes into reading the record, which may be large."""

_UNDER_WAY = ("pending", "running")


class Tail:
    """What a step printed, from where it was last read; whole lines, until it has ended."""

    def __init__(self, step: str, path: Path, prefix: bytes, lines: int | None) -> None:
        self.step = step
        self._path = path
        self._prefix = prefix
        self._lines = lines
        self._file: IO[bytes] | None = None
        self._rest = b""

    def forward(self, *, ended: bool = False) -> None:
        """Print what is new."""
        if self._file is None:
            if not self._path.is_file():
                return
            self._file = self._path.open("rb")
            seek_tail(self._file, self._lines)
        while block := self._file.read(1 << 16):
            self._print(block)
        if ended:
            if self._rest:
                self._write(self._prefix + self._rest + b"\n")
            self._rest = b""
            self._file.close()
            self._file = None

    def _print(self, block: bytes) -> None:
        if not self._prefix:
            # Alone, it is printed as it comes, be it half a line (a progress bar).
            self._write(block)
            return
        *lines, self._rest = (self._rest + block).split(b"\n")
        self._write(b"".join(self._prefix + line + b"\n" for line in lines))

    @staticmethod
    def _write(text: bytes) -> None:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()


def follow(context: Context, history: History, run: str) -> int:
    """Print what the steps that are meant print, each until it has ended or its run died.

    Raises RecipeError (`no-log`) when the run ended without any of them.
    """
    store = history.store
    tails: dict[str, Tail] | None = None
    ended: set[str] = set()
    due = 0.0
    states: dict[str, dict[str, Any]] = {}
    over = False
    while tails is None or len(ended) < len(tails):
        if time.monotonic() >= due:
            began = time.monotonic()
            # Read anew each time; then what has ended has written all of its log.
            now = History(store, history.file)
            over = run not in store.living()
            states = {name: dict(now.entry(run, name) or {}) for name in now.steps(run)}
            if tails is None and (states or over):
                tails = _tails(context, now, run, tuple(states))
            due = time.monotonic() + max(PULSE, RESTRAINT * (time.monotonic() - began))
        for name, tail in (tails or {}).items():
            if name in ended:
                continue
            done = over or states[name]["state"] not in _UNDER_WAY
            tail.forward(ended=done)
            if done:
                ended.add(name)
                context.tell(f"{name}: {_end(states[name])}")
        if tails is None or len(ended) < len(tails):
            time.sleep(PULSE)
    if not context.arguments.tasks:
        _tell_end(context, store, run)
    return 0


def _tell_end(context: Context, store: Store, run: str) -> None:
    """How the run as a whole ends, which what is no task may have decided."""
    while run in store.living():
        time.sleep(PULSE)
    document = read_run(store, run)
    end = f"{summaries.state(document)}, {summaries.counted(document)}"
    more = f": coopery show {run}" if document.get("exit_code") else ""
    context.tell(f"run {run}: {end}{more}")


def _end(entry: dict[str, Any]) -> str:
    return "cached" if entry["cached"] else str(entry["state"])


def _tails(context: Context, history: History, run: str, steps: Sequence[str]) -> dict[str, Tail]:
    """The logs of the steps of this run that are meant; made when the run has told its plan."""
    found = [name for task in context.arguments.tasks for name in selecting.matching(task, steps)]
    if not context.arguments.tasks:
        found = list(tasks_of(history, run))
    elif not found:
        named = in_recipe(context)  # a typo is answered with the nearest name
        found = [name for name in named if name in steps]
    if not found:
        message = f"{' '.join(context.arguments.tasks) or 'a task'} is no part of run {run}"
        raise RecipeError(Problem(slug="no-log", message=message))
    names = list(dict.fromkeys(found))
    several = len(names) > 1
    width = max(map(len, names))
    tails = {}
    for name in names:
        # One whose result is remembered tells what it printed when that was made.
        log = made_in(history, run, name)
        path = log.path if log and log.path else history.store.log_path(run, name)
        prefix = f"{name.ljust(width)} | ".encode() if several else b""
        tails[name] = Tail(name, path, prefix, context.arguments.tail)
    return tails
