"""Resources of the machine, shared by all that have the home open."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coopery.steps import Reservation
from coopery_store.store import HomeStore

CAPACITY = {"cpu": 2.0, "license": 1.0, "gpu": 3.0}


@pytest.fixture
def other(home: Path, store: HomeStore) -> Iterator[HomeStore]:
    """What another process has open on the same home."""
    opened = HomeStore(home)
    yield opened
    opened.close()


def ask(store: HomeStore, step: str, priority: int = 0, **amounts: float) -> Reservation:
    run = f"run-{id(store)}"
    return store.reserve(step, amounts, CAPACITY, run=run, priority=priority)


def give_back(store: HomeStore, step: str) -> None:
    store.release(step, run=f"run-{id(store)}", priority=0)


def test_no_more_is_handed_out_than_there_is(store: HomeStore, other: HomeStore) -> None:
    assert ask(store, "a", cpu=1.5).granted
    refused = ask(other, "b", cpu=1.0)
    assert not refused.granted and refused.lacking == ("cpu",)
    assert refused.held_by == (f"run-{id(store)}",)
    assert ask(other, "c", cpu=0.5).granted
    assert not ask(store, "d", cpu=0.1).granted
    give_back(store, "a")
    assert ask(other, "b", cpu=1.0).granted


def test_sums_of_fractions_fit(store: HomeStore) -> None:
    assert all(ask(store, f"s{n}", cpu=0.2).granted for n in range(10))
    assert not ask(store, "more", cpu=0.2).granted


def test_what_is_not_there_is_not_handed_out(store: HomeStore) -> None:
    assert ask(store, "a", tape=1.0).lacking == ("tape",)


def test_all_or_nothing(store: HomeStore, other: HomeStore) -> None:
    assert ask(store, "a", license=1.0).granted
    assert ask(other, "b", license=1.0, cpu=2.0).lacking == ("license",)
    assert ask(store, "c", cpu=2.0).granted


def test_each_gpu_is_handed_out_once(store: HomeStore, other: HomeStore) -> None:
    assert ask(store, "a", gpu=2).devices == (0, 1)
    assert ask(other, "b", gpu=1).devices == (2,)
    assert not ask(other, "c", gpu=1).granted
    give_back(store, "a")
    assert ask(other, "c", gpu=1).devices == (0,)


def test_what_is_given_back_twice_counts_once(store: HomeStore) -> None:
    assert ask(store, "a", license=1.0).granted
    give_back(store, "a")
    give_back(store, "a")
    assert ask(store, "b", license=1.0).granted and not ask(store, "c", license=1.0).granted


def test_a_higher_priority_goes_first(store: HomeStore, other: HomeStore, home: Path) -> None:
    assert ask(store, "a", license=1.0).granted
    assert not ask(other, "urgent", priority=5, license=1.0).granted
    give_back(store, "a")
    behind = ask(store, "b", license=1.0)
    assert not behind.granted and behind.lacking == () and behind.held_by == (f"run-{id(other)}",)
    assert ask(store, "c", cpu=1.0).granted, "what it does not want is free for all"
    assert ask(other, "urgent", priority=5, license=1.0).granted


def test_a_dead_process_holds_nothing(store: HomeStore, home: Path) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        granted = ask(HomeStore(home), "a", license=1.0).granted
        os.write(writing, b"1" if granted else b"0")
        time.sleep(60)
        os._exit(1)
    assert os.read(reading, 1) == b"1"
    assert not ask(store, "b", license=1.0).granted
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert ask(store, "b", license=1.0).granted
