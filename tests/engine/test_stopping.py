"""A run that is asked to stop tells so, and whoever watches learns of its end, however it ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from coopery.hooks import hookimpl
from coopery.opening import Request
from coopery.options import CoreOptions, Settings, read_settings
from coopery.plugins import Plugins
from coopery.session import run
from coopery.steps import Execution
from coopery.stopping import Stop, signals
from coopery.testing import Project


def settings(home: Path) -> Settings:
    return read_settings((CoreOptions,), None, home.parent, {"COOPERY_HOME": str(home)})


def test_asks_are_told_once_each_in_order() -> None:
    stop, told = Stop(), list[bool]()
    with stop.told(told.append):
        for _ in range(5):
            stop.ask()
    assert told == [False, True]
    assert "stopping" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("force", [False, True])
def test_what_was_asked_before_is_told(force: bool) -> None:
    stop, told = Stop(), list[bool]()
    stop.ask(force=force)
    with stop.told(told.append):
        pass
    assert told == [force]


def test_nothing_is_told_of_a_run_that_nobody_stops() -> None:
    told: list[bool] = []
    with Stop().told(told.append):
        pass
    assert told == []


def test_a_signal_that_meets_a_lock_that_telling_takes_does_no_harm() -> None:
    stop, told, lock = Stop(), list[bool](), threading.Lock()

    def tell(forced: bool) -> None:
        with lock:
            told.append(forced)

    with stop.told(tell), signals(stop):
        with lock:
            signal.raise_signal(signal.SIGINT)
            assert stop.asked.is_set()
        deadline = time.monotonic() + 20
        while not told:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert told == [False]


class Scheduler:
    """Does one thing with a run."""

    def __init__(self, act: Callable[[Execution], None]) -> None:
        self._act = act

    @hookimpl
    def schedule(self, execution: Execution) -> bool:
        self._act(execution)
        return True


def kinds(project: Project, act: Callable[[Execution], None]) -> Sequence[str]:
    """The kinds of events of a run that this drives; whatever it raises is raised."""
    plugins = Plugins([*Plugins.discover().listing, ("mine", Scheduler(act))])
    found: list[str] = []
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    request = Request(cwd=project.root)
    try:
        run(request, plugins, settings(project.home), lambda es: found.extend(e.kind for e in es))
    finally:
        assert found.count("run-ended") == 1
    return found


def test_the_end_is_told_of_a_run_that_breaks_off(project: Project) -> None:
    def act(execution: Execution) -> None:
        raise SystemExit("broken")

    assert kinds(project, act)[-3:] == ["run-ended", "concluding", "recorded"]


def test_stopping_comes_before_the_end(project: Project) -> None:
    def act(execution: Execution) -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)

    found = kinds(project, act)
    assert [k for k in found if k in ("stopping", "killing", "run-ended", "recorded")] == [
        "stopping",
        "killing",
        "run-ended",
        "recorded",
    ]
