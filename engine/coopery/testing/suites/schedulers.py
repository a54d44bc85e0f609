"""What every scheduler must do: `coopery.steps.Execution` driven to its end, in order, in time."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import ClassVar

import pytest

from coopery.steps import Execution
from coopery.testing.suites.scripted import Graph, Scripted

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
        jobs = 1 if self.one_at_a_time else 2
        work = Scripted(graph, jobs=jobs)
        all_begun = threading.Barrier(jobs)

        def stop(name: str) -> None:
            all_begun.wait(SECONDS)
            work.stopped.set()
            time.sleep(0.05)

        work.work = stop
        assert len(self.drive(work).order) == jobs

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

    # -- retries, resources, priorities -----------------------------------------------------------

    def test_a_step_is_tried_again_when_it_is_due(self) -> None:
        driven = self.drive(Scripted({"a": (), "b": ("a",)}, again={"a": 2}))
        assert driven.order == ["a", "a", "a", "b"]
        assert not driven.given_up

    def test_others_go_on_while_a_step_is_not_due(self) -> None:
        self.side_by_side()
        graph: Graph = {"a": (), "b": (), "c": ("b",)}
        driven = self.drive(Scripted(graph, jobs=1, again={"a": 1}))
        assert driven.order == ["a", "b", "c", "a"]

    def test_a_step_that_fails_after_all_is_given_up_once(self) -> None:
        driven = self.drive(Scripted({"a": (), "b": ("a",)}, again={"a": 1}, failing=["a"]))
        assert (driven.order, driven.given_up) == (["a", "a"], ["a"])

    def test_a_stopping_run_waits_for_nothing_that_is_not_due(self) -> None:
        work = Scripted({"a": ()}, again={"a": 1})
        work.work = lambda name: work.stopped.set()
        assert self.drive(work).order == ["a"]

    def test_a_step_waits_for_its_resources_and_others_do_not(self) -> None:
        self.side_by_side()
        over = threading.Event()
        graph: Graph = {"big": (), "a": (), "b": ("a",)}
        work = Scripted(graph, jobs=2, free=lambda name: name != "big" or over.is_set())
        work.work = lambda name: over.set() if name == "b" else None
        assert self.drive(work).order == ["a", "b", "big"]

    def test_resources_that_other_runs_give_back_are_found_free(self) -> None:
        """Nothing of this run ends meanwhile."""
        freed = time.monotonic() + 0.3
        self.drive(Scripted({"a": ()}, free=lambda name: time.monotonic() > freed))

    def test_a_stopping_run_waits_for_no_resources(self) -> None:
        work = Scripted({"a": ()}, free=lambda name: False)
        timer = threading.Timer(0.3, work.stopped.set)
        timer.start()
        assert self.drive(work).order == []
        timer.join()

    def test_the_highest_priority_goes_first(self) -> None:
        self.side_by_side()
        graph: Graph = {"a": (), "b": (), "c": (), "d": ("c",)}
        driven = self.drive(Scripted(graph, jobs=1, priorities={"c": 5, "d": -1, "b": 1}))
        assert driven.order == ["c", "b", "a", "d"]
