"""The builtin scheduler, driven by a fake execution."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import pytest

from coopery_scheduler import schedule


class Fake:
    """Steps that take a set time; notes when each started and ended."""

    def __init__(
        self,
        needs: Mapping[str, tuple[str, ...]],
        seconds: Mapping[str, float] | None = None,
        jobs: int = 4,
        done: Sequence[str] = (),
        failing: Sequence[str] = (),
    ) -> None:
        self.needs, self.jobs, self.done, self.failing = needs, jobs, done, failing
        self.seconds = seconds or {}
        self.spans: dict[str, tuple[float, float]] = {}
        self.skipped: list[str] = []
        self.batches: list[list[str]] = []
        self.cancelled = False
        self.running = self.most = 0
        self.lock = threading.Lock()

    @property
    def stopping(self) -> bool:
        return self.cancelled

    def cancel(self) -> None:
        self.cancelled = True

    def decide(self, names: Sequence[str]) -> Mapping[str, bool]:
        self.batches.append(list(names))
        return {name: name in self.done for name in names}

    def perform(self, name: str) -> bool:
        with self.lock:
            assert name not in self.spans, "performed twice"
            self.running += 1
            self.most = max(self.most, self.running)
        started = time.monotonic()
        time.sleep(self.seconds.get(name, 0))
        with self.lock:
            self.running -= 1
            self.spans[name] = (started, time.monotonic())
        return name not in self.failing

    def give_up(self, name: str) -> Sequence[str]:
        self.skipped.append(name)
        return []


DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def test_each_step_once_and_after_its_needs() -> None:
    fake = Fake(DIAMOND, {"b": 0.05})
    schedule(fake)
    assert sorted(fake.spans) == ["a", "b", "c", "d"]
    for name, needs in DIAMOND.items():
        assert all(fake.spans[need][1] <= fake.spans[name][0] for need in needs)


def test_no_step_waits_for_one_it_does_not_need() -> None:
    fake = Fake({"slow": (), "a": (), "b": ("a",), "c": ("b",)}, {"slow": 0.5})
    schedule(fake)
    assert fake.spans["c"][1] < fake.spans["slow"][1]


def test_at_most_jobs_at_a_time() -> None:
    fake = Fake({str(n): () for n in range(12)}, dict.fromkeys(map(str, range(12)), 0.02), jobs=3)
    schedule(fake)
    assert fake.most == 3


def test_recalled_steps_are_decided_in_waves() -> None:
    fake = Fake(DIAMOND, done="abcd")
    schedule(fake)
    assert fake.batches == [["a"], ["b", "c"], ["d"]]
    assert fake.spans == {}


def test_a_failed_step_is_given_up_and_others_go_on() -> None:
    fake = Fake({"a": (), "b": ("a",), "x": (), "y": ("x",)}, failing="a")
    schedule(fake)
    assert sorted(fake.spans) == ["a", "x", "y"]
    assert fake.skipped == ["a"]


def test_an_exception_cancels_what_runs() -> None:
    class Broken(Fake):
        def decide(self, names: Sequence[str]) -> Mapping[str, bool]:
            raise KeyboardInterrupt

    fake = Broken(DIAMOND)
    with pytest.raises(KeyboardInterrupt):
        schedule(fake)
    assert fake.cancelled


def test_a_chain_of_thousands_needs_no_stack() -> None:
    chain = {str(n): (str(n - 1),) if n else () for n in range(5000)}
    fake = Fake(chain, done=list(chain))
    schedule(fake)
    assert len(fake.batches) == 5000
