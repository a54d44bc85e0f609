"""The builtin scheduler, driven by a fake execution."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest

from coopery.steps import Turn
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
        priorities: Mapping[str, int] | None = None,
        tries: Mapping[str, int] | None = None,
        licenses: int = 100,
        asking: Sequence[str] = (),
    ) -> None:
        self.needs, self.jobs, self.done, self.failing = needs, jobs, done, failing
        self.seconds = seconds or {}
        self.priorities = priorities or {}
        self.tries = dict(tries or {})
        self.licenses, self.asking = licenses, asking
        self.order: list[str] = []
        self.failed_at: dict[str, float] = {}
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

    def reserve(self, name: str) -> bool:
        with self.lock:
            if name in self.asking:
                if not self.licenses:
                    return False
                self.licenses -= 1
            return True

    def due(self, name: str) -> float:
        return self.failed_at[name] + 0.2

    def perform(self, name: str) -> Turn:
        with self.lock:
            assert name not in self.spans, "performed twice"
            self.order.append(name)
            self.running += 1
            self.most = max(self.most, self.running)
        started = time.monotonic()
        time.sleep(self.seconds.get(name, 0))
        with self.lock:
            self.running -= 1
            self.licenses += name in self.asking
            if self.tries.get(name, 1) > 1:
                self.tries[name] -= 1
                self.failed_at[name] = time.monotonic()
                return Turn.AGAIN
            self.spans[name] = (started, time.monotonic())
        return Turn.FAILED if name in self.failing else Turn.SUCCEEDED

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


def test_the_highest_priority_starts_first_else_the_plans_order() -> None:
    fake = Fake(dict.fromkeys("abcd", ()), jobs=1, priorities={"c": 5, "d": -1})
    schedule(fake)
    assert fake.order == ["c", "a", "b", "d"]


def test_a_step_is_tried_again_once_it_is_due_and_holds_nobody_up_till_then() -> None:
    fake = Fake(
        {"flaky": (), "a": (), "b": ("a",), "c": ("flaky",)},
        {"a": 0.02},
        jobs=1,
        tries={"flaky": 2},
    )
    schedule(fake)
    assert fake.order == ["flaky", "a", "b", "flaky", "c"]
    assert fake.spans["flaky"][0] >= fake.failed_at["flaky"] + 0.19


def test_steps_without_resources_wait_and_others_go_on() -> None:
    fake = Fake(
        {"x": (), "y": (), "z": (), "a": (), "b": ("a",)},
        {"x": 0.1, "y": 0.1, "z": 0.1},
        licenses=1,
        asking=("x", "y", "z"),
    )
    schedule(fake)
    spans = sorted(fake.spans[name] for name in "xyz")
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert fake.spans["b"][1] < spans[0][1]


def test_resources_that_others_hold_are_asked_for_again() -> None:
    fake = Fake({"x": ()}, licenses=0, asking=("x",))
    timer = threading.Timer(0.3, lambda: setattr(fake, "licenses", 1))
    timer.start()
    schedule(fake)
    assert "x" in fake.spans


@pytest.mark.parametrize("tries", [{}, {"x": 9}])
def test_a_run_that_stops_leaves_what_waits(tries: Mapping[str, int]) -> None:
    fake = Fake({"x": (), "y": ()}, jobs=1, licenses=0, asking=("y",), tries=tries)
    threading.Timer(0.3, fake.cancel).start()
    started = time.monotonic()
    schedule(fake)
    assert "y" not in fake.spans and time.monotonic() - started < 5
