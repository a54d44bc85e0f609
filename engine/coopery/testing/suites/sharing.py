"""The store between threads and processes: claims, leases and reservations."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from coopery.errors import StepError
from coopery.steps import Claim, Reservation, Store
from coopery.testing.suites.storing import (
    SECONDS,
    StoreFixtures,
    bytes_at,
    put_text,
    record,
    success,
    wait_until,
)

CAPACITY = {"cpu": 2.0, "license": 1.0, "gpu": 3.0}


def ask(store: Store, step: str, priority: int = 0, **amounts: float) -> Reservation:
    """Reserve for a step of the run that this store belongs to."""
    return store.reserve(step, amounts, CAPACITY, run=f"run-{id(store)}", priority=priority)


def give_back(store: Store, step: str) -> None:
    """What was reserved for it."""
    store.release(step, run=f"run-{id(store)}", priority=0)


class SharingSuite(StoreFixtures):
    """Of the store suite: `claim`, `lease` and `drop`, `reserve` and `release`."""

    # -- claims -----------------------------------------------------------------------------------

    def test_a_claim_is_held_by_one_at_a_time(self, store: Store, other: Store) -> None:
        inside, most = 0, 0
        guard = threading.Lock()

        def work(mine: Store) -> None:
            nonlocal inside, most
            for _ in range(10):
                with mine.claim("key"):
                    with guard:
                        inside += 1
                        most = max(most, inside)
                    time.sleep(0.0005)
                    with guard:
                        inside -= 1

        threads = [threading.Thread(target=work, args=(s,)) for s in (store, store, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 1
        with store.claim("key"), store.claim("another"):
            pass

    def test_a_claim_is_free_after_an_exception(self, store: Store, other: Store) -> None:
        with pytest.raises(ValueError, match="x"), store.claim("k"):
            raise ValueError("x")
        with other.claim("k", _soon()):
            pass

    def test_a_claim_dies_with_its_holder(self, store: Store, home: Path) -> None:
        held: list[Claim] = []

        def work(mine: Store) -> None:
            held.append(mine.claim("k"))
            held[0].__enter__()

        with self.process(home, work):
            cancelled = threading.Event()
            cancelled.set()
            with pytest.raises(StepError) as error, store.claim("k", cancelled):
                pass
            assert error.value.problems[0].slug == "cancelled"
        with store.claim("k", _soon()):
            pass

    def test_who_waits_is_told_once_for_whom(self, store: Store, other: Store) -> None:
        told: list[str] = []
        got = threading.Event()

        def wait() -> None:
            with other.claim("k", run="second", waiting=told.append):
                got.set()

        with store.claim("k", run="first"):
            thread = threading.Thread(target=wait)
            thread.start()
            wait_until(lambda: told, "telling who holds the claim")
            assert not got.is_set()
        thread.join(SECONDS)
        assert got.is_set() and told in (["first"], [""])

    def test_who_need_not_wait_is_told_nothing(self, store: Store, other: Store) -> None:
        told: list[str] = []
        with store.claim("a", run="first"), other.claim("b", run="second", waiting=told.append):
            assert told == []

    # -- leases -----------------------------------------------------------------------------------

    def test_what_another_uses_is_not_dropped(self, store: Store, other: Store) -> None:
        put, leased, free = (put_text(store, text) for text in ("put", "leased", "free"))
        assert put_text(other, "put") == put
        other.lease([leased])
        assert not store.drop(put) and not store.drop(leased) and store.drop(free)
        assert other.find(put) is not None and other.find(leased) is not None
        other.close()
        assert store.drop(put) and store.drop(leased)
        assert store.find(leased) is None

    def test_ones_own_lease_is_no_hindrance(self, store: Store) -> None:
        identity = put_text(store, "1")
        store.lease([identity, identity])
        assert store.drop(identity) and store.find(identity) is None

    def test_a_lease_dies_with_its_holder(self, store: Store, home: Path) -> None:
        identity = put_text(store, "1")
        store.remember([record("k", o=identity)])
        with self.process(home, lambda mine: mine.lease([identity])):
            assert not store.drop(identity)
        assert store.drop(identity)

    def test_what_a_success_keeps_is_not_dropped(self, store: Store, home: Path) -> None:
        kept, passing = put_text(store, "1"), put_text(store, "2")
        store.remember([record("k", kept=kept, passing=passing)], [success("k", kept)])
        assert not store.drop(kept) and store.drop(passing)
        assert bytes_at(store, kept).read_text() == "1"

    # -- reservations -----------------------------------------------------------------------------

    def test_no_more_is_handed_out_than_there_is(self, store: Store, other: Store) -> None:
        assert ask(store, "a", cpu=1.5).granted
        refused = ask(other, "b", cpu=1.0)
        assert (refused.granted, refused.lacking) == (False, ("cpu",))
        assert refused.held_by == (f"run-{id(store)}",)
        assert ask(other, "c", cpu=0.5).granted
        give_back(store, "a")
        assert ask(other, "b", cpu=1.0).granted

    def test_all_that_is_asked_for_or_nothing(self, store: Store, other: Store) -> None:
        assert ask(store, "a", license=1.0).granted
        assert ask(other, "b", license=1.0, cpu=2.0).lacking == ("license",)
        assert ask(store, "c", cpu=2.0).granted
        assert ask(store, "d", tape=1.0).lacking == ("tape",), "what is not there is lacking"

    def test_each_gpu_is_handed_out_once(self, store: Store, other: Store) -> None:
        one, two = ask(store, "a", gpu=2).devices, ask(other, "b", gpu=1).devices
        assert sorted([*one, *two]) == [0, 1, 2]
        assert not ask(other, "c", gpu=1).granted
        give_back(store, "a")
        assert ask(other, "c", gpu=2).devices == one

    def test_giving_back_twice_counts_once(self, store: Store) -> None:
        assert ask(store, "a", license=1.0).granted
        give_back(store, "a")
        give_back(store, "a")
        give_back(store, "never")
        assert ask(store, "b", license=1.0).granted and not ask(store, "c", license=1.0).granted

    def test_a_higher_priority_goes_first(self, store: Store, other: Store) -> None:
        assert ask(store, "a", license=1.0).granted
        assert not ask(other, "urgent", priority=5, license=1.0).granted
        give_back(store, "a")
        behind = ask(store, "b", license=1.0)
        assert not behind.granted and behind.lacking == ()
        assert ask(store, "c", cpu=1.0).granted, "what it does not want is free for all"
        assert ask(other, "urgent", priority=5, license=1.0).granted

    def test_the_dead_hold_nothing(self, store: Store, home: Path) -> None:
        with self.process(home, lambda mine: _granted(ask(mine, "a", license=1.0))):
            assert not ask(store, "b", license=1.0).granted
        assert ask(store, "b", license=1.0).granted


def _granted(reservation: Reservation) -> None:
    assert reservation.granted


def _soon() -> threading.Event:
    """Set when a claim that should be free has not come for long."""
    event = threading.Event()
    timer = threading.Timer(SECONDS, event.set)
    timer.daemon = True
    timer.start()
    return event
