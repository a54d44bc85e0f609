"""The store's memory and its runs: what is said comes back as it was, also to other processes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from coopery.errors import RecipeError
from coopery.steps import Identity, Store
from coopery.testing.suites.storing import (
    SECONDS,
    StoreFixtures,
    bytes_at,
    put_text,
    record,
    success,
    wait_until,
)

FILE = Identity(digest="a" * 64, kind="file", size=3)
FOLDER = Identity(digest="b" * 64, kind="folder", size=7)
PLACE = Identity(digest="c" * 64, kind="place")
RUNS = ("20260101T000000000-aaaa", "20260301T000000000-cccc", "20260201T000000000-bbbb")


def keep(store: Store, run: str, **document: Any) -> None:
    """A run that has ended."""
    log = store.begin_run(run, {"state": "running"}, lambda force: None)
    log.end({"state": "ended", **document})


class RecordsSuite(StoreFixtures):
    """Of the store suite: `recall`, `remember`, `latest`; runs, their records and logs."""

    def test_a_record_comes_back_as_it_was(self, store: Store, home: Path) -> None:
        """Of every kind of output, at once and after the store was closed."""
        kept = record("k", file=FILE, folder=FOLDER, place=PLACE)
        store.remember([kept])
        assert store.recall(["k"]) == {"k": kept}
        store.close()
        again = self.open_store(home)
        assert again.recall(["k"]) == {"k": kept}
        again.close()

    def test_unknown_keys_are_left_out(self, store: Store) -> None:
        store.remember([record("k")])
        assert list(store.recall(["x", "k", "y"])) == ["k"]
        assert store.recall([]) == {}

    def test_thousands_of_keys_are_recalled_at_once(self, store: Store) -> None:
        store.remember([record(f"k{number}") for number in range(3000)])
        assert len(store.recall([f"k{number}" for number in range(4000)])) == 3000

    def test_to_remember_again_changes_nothing(self, store: Store) -> None:
        kept = record("k", o=FILE)
        for _ in range(3):
            store.remember([kept])
        assert store.recall(["k"]) == {"k": kept}
        store.remember([])

    def test_a_later_record_of_a_key_is_the_one(self, store: Store) -> None:
        store.remember([record("k", o=FILE)])
        store.remember([record("k", o=FOLDER)])
        assert store.recall(["k"])["k"].outputs == {"o": FOLDER}

    def test_another_process_recalls_what_was_remembered(self, store: Store, other: Store) -> None:
        store.remember([record("k")])
        assert list(other.recall(["k"])) == ["k"]
        other.remember([record("k2")])
        assert list(store.recall(["k2"])) == ["k2"]

    def test_what_a_killed_process_remembered_is_there(self, store: Store, home: Path) -> None:
        def work(mine: Store) -> None:
            mine.remember([record("k", o=put_text(mine, "bytes"))], [success("k")])

        with self.process(home, work):
            pass
        outputs = store.recall(["k"])["k"].outputs
        assert bytes_at(store, outputs["o"]).read_text() == "bytes"
        assert store.latest("/r.toml")["fit"].key == "k"

    def test_the_latest_successes_are_those_of_a_recipe(self, store: Store, home: Path) -> None:
        store.remember([record("k1")], [success("k1"), success("e", step="eval")])
        store.remember([], [success("k2"), success("z", recipe="/other.toml")])
        for opened in (store, self.open_store(home)):
            assert {n: s.key for n, s in opened.latest("/r.toml").items()} == {
                "fit": "k2",
                "eval": "e",
            }
            assert opened.latest("/other.toml") == {"fit": success("z", recipe="/other.toml")}
            assert opened.latest("/none.toml") == {}
        opened.close()

    def test_threads_remember_side_by_side(self, store: Store) -> None:
        failures: list[BaseException] = []

        def work(name: str) -> None:
            try:
                for number in range(20):
                    own = put_text(store, f"{name}{number}")
                    store.remember([record(f"{name}{number}", own=own)])
                    assert store.find(own)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(store.recall([f"{name}{n}" for name in "abcd" for n in range(20)])) == 80

    # -- runs -------------------------------------------------------------------------------------

    def test_runs_are_kept_and_listed_latest_first(self, store: Store, other: Store) -> None:
        for run in RUNS:
            keep(store, run, name="ä", steps=[{"a": 1}, {"b": None}], none=[])
        assert list(other.runs()) == sorted(RUNS, reverse=True)
        assert other.read_run(RUNS[0]) == {
            "state": "ended",
            "name": "ä",
            "steps": [{"a": 1}, {"b": None}],
            "none": [],
        }

    @pytest.mark.parametrize("name", ["20260101T000000000-bbbb", "../../etc", "", "a/b"])
    def test_an_unknown_run_is_told(self, store: Store, name: str) -> None:
        keep(store, RUNS[0])
        with pytest.raises(RecipeError) as error:
            store.read_run(name)
        assert error.value.problems[0].slug == "unknown-run"

    def test_a_run_under_way_is_read_as_it_grows(self, store: Store, other: Store) -> None:
        log = store.begin_run("r", {"state": "running", "x": 1}, lambda force: None)
        assert other.read_run("r") == {"state": "running", "x": 1, "alive": True, "progress": []}
        log.append([{"step": "a"}, {"step": "b"}])
        log.append([])
        log.append([{"step": "c"}])
        assert other.read_run("r")["progress"] == [{"step": "a"}, {"step": "b"}, {"step": "c"}]
        log.end({"state": "ended"})
        assert other.read_run("r") == {"state": "ended"}

    def test_a_run_that_was_let_go_of_keeps_what_it_said(self, store: Store) -> None:
        log = store.begin_run("r", {"state": "running"}, lambda force: None)
        log.append([{"step": "a"}])
        log.close()
        log.close()
        found = store.read_run("r")
        assert (found["alive"], found["progress"]) == (False, [{"step": "a"}])

    def test_a_killed_run_does_not_live(self, store: Store, home: Path) -> None:
        def work(mine: Store) -> None:
            log = mine.begin_run("r", {"state": "running"}, lambda force: None)
            log.append([{"step": "a"}])
            kept.append(log)

        kept: list[Any] = []
        with self.process(home, work):
            assert store.read_run("r")["alive"]
        found = store.read_run("r")
        assert (found["alive"], found["progress"]) == (False, [{"step": "a"}])
        assert store.stop_run("r", force=False) is False

    def test_a_run_hears_that_it_should_stop(self, store: Store, other: Store) -> None:
        heard: list[bool] = []
        log = store.begin_run("r", {"state": "running"}, heard.append)
        assert other.stop_run("r", force=False) is True
        wait_until(lambda: heard == [False], "hearing of a stop")
        assert other.stop_run("r", force=True) is True
        wait_until(lambda: heard == [False, True], "hearing of a second stop")
        log.end({"state": "ended"})
        assert other.stop_run("r", force=True) is False
        assert other.stop_run("unknown", force=True) is False

    def test_runs_leave_no_thread(self, store: Store) -> None:
        before = threading.active_count()
        for number in range(5):
            keep(store, f"r{number}")
        wait_until(lambda: threading.active_count() <= before, f"in {SECONDS} s, their end")

    def test_each_step_of_each_run_has_a_log(self, store: Store, home: Path) -> None:
        names = ["fit", "fit@fold=0", "image:a", "../../../up", "ä b", "x" * 300, "X", "x"]
        paths = [store.log_path(run, name) for run in RUNS for name in names]
        assert len(set(paths)) == len(RUNS) * len(names)
        assert all(path.resolve().is_relative_to(home.resolve()) for path in paths)
        assert store.log_path(RUNS[0], "fit") == paths[0]
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        paths[0].write_text("fine")
