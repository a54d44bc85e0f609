"""What every scheduler must do: `coopery.steps.Execution` driven to its end, in order, in time."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import pytest

from coopery.steps import Execution

Graph = Mapping[str, tuple[str, ...]]
SECONDS = 30
"""How long what must happen may take: much longer than it does, for loaded machines."""

DIAMOND: Graph = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
GRAPHS: dict[str, Graph] = {
    "empty": {},
    "one": {"a": ()},
    "chain": {"a": (), "b": ("a",), "c": ("b",)},
    "diamond": DIAMOND,
    "isolated": {"a": (), "b": (), "c": ("a",)},
    "roots": {"a": (), "b": (), "c": ("a", "b"), "d": ("b",), "e": ("c", "d")},
    "uneven": {"a": (), "b": ("a",), "c": ("b",), "d": ("a",), "e": ("c", "d"), "f": ()},
    "wide": {"a": (), **{f"w{n}": ("a",) for n in range(30)}, "z": ("w0", "w29")},
}


class Scripted:
    """An execution that does as it was told, and notes what it was asked.

    Steps in `done` are recalled, those in `failing` fail, `work` is what performing a step does.
    Whatever breaks the rules is in `wrong`.
    """

    def __init__(
        self,
        needs: Graph,
        *,
        jobs: int = 4,
        done: Sequence[str] = (),
        failing: Sequence[str] = (),
        work: Callable[[str], object] = lambda name: None,
    ) -> None:
        self.needs, self.jobs = needs, jobs
        self.done, self.failing, self.work = set(done), set(failing), work
        self.stopped = threading.Event()
        self.wrong: list[str] = []
        self.decided: set[str] = set()
        self.succeeded: set[str] = set()
        self.skipped: set[str] = set()
        self.order: list[str] = []
        """The steps that were performed, as they began."""
        self.given_up: list[str] = []
        self.running = self.most = self.deciding = 0
        self.lock = threading.Lock()

    @property
    def stopping(self) -> bool:
        """See `coopery.steps.Execution.stopping`."""
        return self.stopped.is_set()

    def cancel(self) -> None:
        """See `coopery.steps.Execution.cancel`."""
        self.stopped.set()

    def decide(self, names: Sequence[str]) -> Mapping[str, bool]:
        """See `coopery.steps.Execution.decide`."""
        with self.lock:
            self.deciding += 1
            if self.deciding > 1:
                self.wrong.append("two threads decided at once")
            for name in names:
                missing = set(self.needs[name]) - self.succeeded
                if missing:
                    self.wrong.append(f"{name} was decided before {sorted(missing)}")
                if name in self.decided:
                    self.wrong.append(f"{name} was decided twice")
                if name in self.skipped:
                    self.wrong.append(f"{name} was decided though skipped")
                self.decided.add(name)
        with self.lock:
            self.deciding -= 1
            self.succeeded |= self.done & set(names)
        return {name: name in self.done for name in names}

    def perform(self, name: str) -> bool:
        """See `coopery.steps.Execution.perform`."""
        with self.lock:
            if name not in self.decided or name in self.done:
                self.wrong.append(f"{name} was performed without being decided so")
            if name in self.order:
                self.wrong.append(f"{name} was performed twice")
            if self.stopped.is_set():
                self.wrong.append(f"{name} was started though the run is stopping")
            self.order.append(name)
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            self.work(name)
        finally:
            with self.lock:
                self.running -= 1
                if name not in self.failing:
                    self.succeeded.add(name)
        return name not in self.failing

    def give_up(self, name: str) -> Sequence[str]:
        """See `coopery.steps.Execution.give_up`."""
        with self.lock:
            self.given_up.append(name)
            found, stack = [], [name]
            while stack:
                gone = stack.pop()
                for reader, needs in self.needs.items():
                    if gone in needs and reader not in self.skipped:
                        self.skipped.add(reader)
                        found.append(reader)
                        stack.append(reader)
            return found


class SchedulerSuite:
    """What a hook `schedule` must do. Say which is meant: `schedule(execution)`.

    One that never performs two steps at a time says why in `one_at_a_time`; what only others can
    do is skipped then.
    """

    one_at_a_time: ClassVar[str] = ""

    def side_by_side(self) -> None:
        """Skip the test for those that perform one step at a time."""
        if self.one_at_a_time:
            pytest.skip(f"one step at a time: {self.one_at_a_time}")

    def schedule(self, execution: Execution) -> bool | None:
        """The answer to the hook that is to be tested. Override it."""
        raise NotImplementedError(f"{type(self).__name__} does not say what schedules")

    def drive(self, execution: Scripted) -> Scripted:
        """Schedule it, in a thread that must come to its end; no rule may have been broken."""
        answers: list[object] = []

        def run() -> None:
            try:
                answers.append(self.schedule(execution))
            except BaseException as error:
                answers.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(SECONDS)
        assert not thread.is_alive(), "the scheduler does not come to an end"
        assert not execution.wrong
        assert execution.running == 0, "it returned while steps were performed"
        if isinstance(answers[0], BaseException):
            raise answers[0]
        assert answers == [True]
        return execution

    @pytest.mark.parametrize("jobs", [1, 2, 8])
    @pytest.mark.parametrize("name", GRAPHS)
    def test_each_step_once_and_after_its_needs(self, name: str, jobs: int) -> None:
        driven = self.drive(Scripted(GRAPHS[name], jobs=jobs))
        assert sorted(driven.order) == sorted(driven.needs)
        assert not driven.given_up

    @pytest.mark.parametrize("seed", range(20))
    def test_graphs_of_all_kinds_with_failures(self, seed: int) -> None:
        """Each step is done, failed or skipped exactly as the graph says."""
        rng = random.Random(seed)
        names = [f"s{number}" for number in range(rng.randrange(1, 25))]
        needs = {
            name: tuple(rng.sample(names[:i], rng.randrange(0, min(i, 3) + 1)))
            for i, name in enumerate(names)
        }
        failing = [name for name in names if rng.random() < 0.15]
        done = [name for name in names if rng.random() < 0.3 and name not in failing]
        work = Scripted(
            needs,
            jobs=rng.randrange(1, 5),
            failing=failing,
            done=done,
            work=lambda name: time.sleep(0.001),
        )
        self.drive(work)
        lost: set[str] = set()
        for name in names:
            if lost & set(needs[name]):
                lost.add(name)
            elif name in failing:
                lost.add(name)
                assert work.given_up.count(name) == 1
            else:
                assert name in work.succeeded
        assert lost == {*work.skipped, *work.given_up}

    def test_no_step_waits_for_one_it_does_not_need(self) -> None:
        """A chain comes to its end while another step is still performed."""
        self.side_by_side()
        over = threading.Event()

        def work(name: str) -> None:
            if name == "slow":
                assert over.wait(SECONDS), "the chain waited for a step that it does not need"
            elif name == "c":
                over.set()

        graph: Graph = {"slow": (), "a": (), "b": ("a",), "c": ("b",), "after": ("slow",)}
        driven = self.drive(Scripted(graph, jobs=2, work=work))
        assert driven.order[-1] == "after"

    @pytest.mark.parametrize("jobs", [1, 3])
    def test_as_many_steps_at_a_time_as_there_may_be(self, jobs: int) -> None:
        """No more, and no less: each waits until as many as that have begun."""
        self.side_by_side()
        barrier = threading.Barrier(jobs)
        graph: Graph = {str(number): () for number in range(4 * jobs)}
        work = Scripted(graph, jobs=jobs, work=lambda name: barrier.wait(SECONDS))
        assert self.drive(work).most == jobs

    def test_what_is_recalled_is_not_performed(self) -> None:
        driven = self.drive(Scripted(DIAMOND, done=["a", "b"]))
        assert sorted(driven.order) == ["c", "d"]

    def test_a_failed_step_is_given_up_and_others_go_on(self) -> None:
        graph: Graph = {"a": (), "b": ("a",), "c": ("b",), "x": (), "y": ("x",)}
        driven = self.drive(Scripted(graph, failing=["a"]))
        assert sorted(driven.order) == ["a", "x", "y"]
        assert driven.given_up == ["a"] and driven.skipped == {"b", "c"}

    def test_a_stopping_run_starts_nothing_more(self) -> None:
        """What is performed then comes to its end first."""
        graph: Graph = {**{f"s{n}": () for n in range(8)}, "z": ("s0",)}
        work = Scripted(graph, jobs=2)

        def stop(name: str) -> None:
            work.stopped.set()
            time.sleep(0.05)

        work.work = stop
        assert 1 <= len(self.drive(work).order) <= 2

    @pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
    def test_what_the_engine_raises_cancels_the_rest(self, error: BaseException) -> None:
        self.side_by_side()

        class Broken(Scripted):
            def decide(self, names: Sequence[str]) -> Mapping[str, bool]:
                if "b" in names:
                    raise error
                return super().decide(names)

        graph: Graph = {"slow": (), "a": (), "b": ("a",)}
        broken = Broken(graph, jobs=2)
        stopped: deque[bool] = deque()

        def work(name: str) -> None:
            if name == "slow":
                stopped.append(broken.stopped.wait(SECONDS))

        broken.work = work
        with pytest.raises(type(error)):
            self.drive(broken)
        assert broken.running == 0 and list(stopped) in ([], [True])

    def test_what_performing_raises_comes_out(self) -> None:
        def work(name: str) -> None:
            raise LookupError(name)

        with pytest.raises(LookupError):
            self.drive(Scripted({"a": ()}, work=work))

    @pytest.mark.parametrize("recalled", [True, False])
    def test_thousands_of_steps(self, recalled: bool) -> None:
        chain = {str(n): (str(n - 1),) if n else () for n in range(1500)}
        wide = {f"w{n}": ("0",) for n in range(1500)}
        graph: Graph = {**chain, **wide}
        driven = self.drive(Scripted(graph, done=list(graph) if recalled else []))
        assert len(driven.succeeded) == 3000

    def test_no_thread_is_left(self) -> None:
        before = threading.active_count()
        for _ in range(3):
            self.drive(Scripted(DIAMOND))
        deadline = time.monotonic() + SECONDS
        while threading.active_count() > before:
            assert time.monotonic() < deadline, "threads of the scheduler live on"
            time.sleep(0.01)
