"""The ledger: how much of the machine each living process has reserved for its tasks."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coopery.steps import Reservation
from coopery_store.home import machine_errors
from coopery_store.locks import held
from coopery_store.scratch import Scratch

_FILE = "resources.json"
GPU = "gpu"
"""The resource of which single pieces are handed out, by number."""
_SLACK = 1e-9  # of a sum of floats


class Ledger:
    """`scratch/<session>/resources.json`: what this process holds, and what it waits for.

    It ends with the session, so that a dead process holds nothing. Who changes its page holds the
    lock `locks/resources` and has read the others' pages under it.
    """

    def __init__(self, home: Path, scratch: Scratch) -> None:
        self._home = home
        self._lock = home / "locks" / "resources"
        self._scratch = scratch
        self._threads = threading.Lock()
        self._held: dict[str, dict[str, Any]] = {}
        self._wants: dict[str, float] = {}

    def reserve(
        self,
        step: str,
        amounts: Mapping[str, float],
        capacity: Mapping[str, float],
        *,
        run: str,
        priority: int,
    ) -> Reservation:
        """See `coopery.steps.Store.reserve`."""
        with machine_errors(self._home), self._threads, held(self._lock, keep=True):
            pages = list(self._others())
            used: Counter[str] = Counter()
            holders: dict[str, list[str]] = {}
            for page in (*pages, {"run": run, "held": self._held}):
                for entry in page["held"].values():
                    for name, amount in entry["amounts"].items():
                        used[name] += amount
                        holders.setdefault(name, []).append(page["run"])
            lacking = [
                name
                for name, amount in amounts.items()
                if used[name] + amount > capacity.get(name, 0) * (1 + _SLACK) + _SLACK
            ]
            ahead = [
                page["run"]
                for page in pages
                if page["priority"] > priority and page["wants"].keys() & amounts.keys()
            ]
            if lacking or ahead:
                self._wants = dict(amounts)
                self._write(run, priority)
                by = [r for name in lacking for r in holders.get(name, ())] or ahead
                return Reservation(
                    granted=False, lacking=tuple(lacking), held_by=tuple(dict.fromkeys(by))
                )
            taken = {i for p in (*pages, {"held": self._held}) for i in _devices(p)}
            free = (number for number in range(int(capacity.get(GPU, 0))) if number not in taken)
            devices = [next(free) for _ in range(int(amounts.get(GPU, 0)))]
            self._held[step] = {"amounts": dict(amounts), "devices": devices}
            self._wants = {}
            self._write(run, priority)
            return Reservation(granted=True, devices=tuple(devices))

    def release(self, step: str, *, run: str, priority: int) -> None:
        """See `coopery.steps.Store.release`."""
        with machine_errors(self._home), self._threads, held(self._lock, keep=True):
            changed = self._held.pop(step, None) is not None or bool(self._wants)
            self._wants = {}
            if changed:
                self._write(run, priority)

    def _others(self) -> Iterator[dict[str, Any]]:
        for session in self._scratch.others():
            try:
                yield json.loads((session / _FILE).read_bytes())
            except FileNotFoundError:
                continue  # it reserves nothing, or has ended just now

    def _write(self, run: str, priority: int) -> None:
        page = {"run": run, "priority": priority, "held": self._held, "wants": self._wants}
        folder = self._scratch.session()
        beside = folder / f"{_FILE}.new"
        beside.write_text(json.dumps(page), "ascii")
        beside.replace(folder / _FILE)


def _devices(page: Mapping[str, Any]) -> list[int]:
    return [number for entry in page["held"].values() for number in entry["devices"]]
