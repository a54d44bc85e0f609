"""Bytes that somebody uses or keeps are not dropped by another."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coopery.steps import Identity, Success
from coopery_store.store import HomeStore

from .conftest import put_folder, put_text, record


@pytest.fixture
def other(home: Path, store: HomeStore) -> Iterator[HomeStore]:
    """What another process has open on the same home."""
    opened = HomeStore(home)
    yield opened
    opened.close()


def success(*keeps: Identity) -> Success:
    digests = tuple(identity.digest for identity in keeps)
    return Success(recipe="/r/recipe.toml", step="fit", key="k", keeps=digests, run="r1")


@pytest.mark.parametrize("put", [lambda s: put_text(s, "1"), lambda s: put_folder(s, {"a": "1"})])
def test_what_another_took_in_stays(
    store: HomeStore, other: HomeStore, put: Callable[[HomeStore], Identity]
) -> None:
    identity = put(store)
    assert put(other) == identity
    assert store.drop(identity) is False
    assert other.find(identity) is not None and store.find(identity) is not None
    other.close()
    assert store.drop(identity) is True
    assert store.find(identity) is None


def test_what_another_leases_stays_until_it_closes(store: HomeStore, other: HomeStore) -> None:
    one, two = put_text(store, "1"), put_text(store, "2")
    other.lease([one])
    assert not store.drop(one) and store.drop(two)
    assert other.find(one) is not None
    other.close()
    assert store.drop(one) and store.find(one) is None


def test_ones_own_lease_is_no_hindrance(store: HomeStore) -> None:
    identity = put_text(store, "1")
    store.lease([identity])
    assert store.drop(identity) and store.find(identity) is None


def test_a_dead_process_leases_nothing(store: HomeStore, home: Path) -> None:
    identity = put_text(store, "1")
    store.remember([record("k", o=identity)])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        HomeStore(home).lease([identity])
        os.write(writing, b"x")
        time.sleep(60)
        os._exit(1)
    os.read(reading, 1)
    assert not store.drop(identity)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert store.drop(identity)


def test_what_a_success_keeps_stays_for_good(store: HomeStore, home: Path) -> None:
    kept, passing = put_text(store, "1"), put_text(store, "2")
    store.remember([record("k", kept=kept, passing=passing)], [success(kept)])
    assert not store.drop(kept) and store.drop(passing)
    store.rebuild()
    assert not store.drop(kept)
    later = Success(recipe="/r/recipe.toml", step="fit", key="k2", run="r2")
    store.remember([], [later])
    assert not store.drop(kept), "an earlier success keeps it still"


def test_dropping_and_taking_at_once_never_loses_what_is_used(home: Path) -> None:
    """One process drops what another takes in and reads, again and again."""
    HomeStore(home).close()
    end = time.time() + 3
    child = os.fork()
    if child == 0:
        dropper = HomeStore(home)
        identity = put_text(dropper, "same")
        while time.time() < end:
            dropper.drop(identity)
        os._exit(0)
    lost = 0
    while time.time() < end:
        store = HomeStore(home)
        identity = put_text(store, "same")
        lost += any(store.find(identity) is None for _ in range(20))
        store.close()
    assert os.waitpid(child, 0)[1] == 0
    assert not lost


def test_who_waits_is_told_for_whom(store: HomeStore, other: HomeStore) -> None:
    told: list[str] = []
    waited = threading.Event()

    def wait() -> None:
        with other.claim("k", run="second", waiting=told.append):
            waited.set()

    with store.claim("k", run="first"):
        thread = threading.Thread(target=wait)
        thread.start()
        deadline = time.monotonic() + 20
        while not told:
            assert time.monotonic() < deadline and not waited.is_set()
            time.sleep(0.01)
    thread.join(20)
    assert told == ["first"] and waited.is_set()


def test_who_need_not_wait_is_told_nothing(store: HomeStore, other: HomeStore) -> None:
    told: list[str] = []
    with store.claim("a", run="first"), other.claim("b", run="second", waiting=told.append):
        assert told == []
