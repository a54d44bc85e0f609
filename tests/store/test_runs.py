"""Runs and logs."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopery.errors import MachineError, RecipeError
from coopery_store.home import safe_name
from coopery_store.store import HomeStore


def keep(store: HomeStore, run: str, **document: Any) -> None:
    log = store.begin_run(run, {"state": "running"}, lambda force: None)
    log.end({"state": "ended", **document})


def test_runs_are_kept_and_listed_latest_first(store: HomeStore, home: Path) -> None:
    for run in ("20260101T000000-a", "20260301T000000-c", "20260201T000000-b"):
        keep(store, run, id=run, name="ä\udcff", steps=[{"a": 1}, {"b": None}], none=[])
    store.log_path("20270101T000000-started", "fit")
    assert store.runs() == ["20260301T000000-c", "20260201T000000-b", "20260101T000000-a"]
    assert store.read_run("20260201T000000-b") == {
        "state": "ended",
        "id": "20260201T000000-b",
        "name": "ä\udcff",
        "steps": [{"a": 1}, {"b": None}],
        "none": [],
    }
    assert [p.name for p in (home / "runs/20260101T000000-a").iterdir()] == ["record.json"]


def test_a_record_has_a_line_for_each_step(store: HomeStore, home: Path) -> None:
    keep(store, "r", steps=[{"step": "a"}, {"step": "b"}])
    lines = (home / "runs/r/record.json").read_text().splitlines()
    assert [line for line in lines if '"step": "b"' in line] == ['  {"step": "b"}']


def test_an_unknown_run_offers_the_nearest(store: HomeStore) -> None:
    keep(store, "20260101T000000-a")
    with pytest.raises(RecipeError) as error:
        store.read_run("20260101T000000-b")
    assert error.value.problems[0].slug == "unknown-run"
    assert "20260101T000000-a" in (error.value.problems[0].hint or "")
    with pytest.raises(RecipeError):
        store.read_run("../../etc")


@pytest.mark.parametrize("content", ["{", "[]", "{}", "\0", '{"state": 1}'])
def test_a_damaged_run_is_told(store: HomeStore, home: Path, content: str) -> None:
    keep(store, "r")
    (home / "runs/r/record.json").write_text(content)
    with pytest.raises(MachineError) as error:
        store.read_run("r")
    assert error.value.problems[0].slug == "run-damaged"


def test_a_run_under_way_can_be_read_by_others(store: HomeStore, home: Path) -> None:
    log = store.begin_run("r", {"state": "running"}, lambda force: None)
    other = HomeStore(home)
    assert other.read_run("r") == {"state": "running", "alive": True, "progress": []}
    log.append([{"step": "a"}, {"step": "b"}])
    log.append([])
    log.append([{"step": "c"}])
    with (home / "runs/r/progress.jsonl").open("a") as file:
        file.write('{"step": "d"')
    assert other.read_run("r")["progress"] == [{"step": "a"}, {"step": "b"}, {"step": "c"}]
    log.end({"state": "ended"})
    assert other.read_run("r") == {"state": "ended"}
    other.close()


def test_a_killed_run_does_not_count_as_alive(home: Path) -> None:
    HomeStore(home).close()
    child = os.fork()
    if child == 0:
        log = HomeStore(home).begin_run("r", {"state": "running"}, lambda force: None)
        log.append([{"step": "a"}])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    store = HomeStore(home)
    assert store.read_run("r") == {
        "state": "running",
        "alive": False,
        "progress": [{"step": "a"}],
    }
    assert not store.stop_run("r", force=False)
    store.close()


def test_another_process_asks_a_run_to_stop(store: HomeStore, home: Path) -> None:
    heard: list[bool] = []
    both = threading.Event()

    def stop(force: bool) -> None:
        heard.append(force)
        if len(heard) == 2:
            both.set()

    log = store.begin_run("r", {"state": "running"}, stop)
    child = os.fork()
    if child == 0:
        other = HomeStore(home)
        told = other.stop_run("r", force=False) and other.stop_run("r", force=True)
        os._exit(0 if told and not other.stop_run("unknown", force=True) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert both.wait(20) and heard == [False, True]
    log.end({"state": "ended"})
    assert not store.stop_run("r", force=False)


def test_a_run_that_is_abandoned_keeps_what_it_said(store: HomeStore) -> None:
    log = store.begin_run("r", {"state": "running"}, lambda force: None)
    log.append([{"step": "a"}])
    log.close()
    log.close()
    assert store.read_run("r") == {
        "state": "running",
        "alive": False,
        "progress": [{"step": "a"}],
    }


def test_nothing_is_left_open_by_a_run(store: HomeStore) -> None:
    keep(store, "r0")
    before = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    for number in range(1, 6):
        keep(store, f"r{number}")
    deadline = time.monotonic() + 10
    while threading.active_count() > before[1]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(list(Path("/proc/self/fd").iterdir())) == before[0]


def test_plain_names_stay_readable() -> None:
    assert safe_name("fit@fold=0,seed=a-b_c") == "fit@fold=0,seed=a-b_c"
    assert safe_name("image:science") == "image%3Ascience"


@given(st.lists(st.text(max_size=300), unique=True, max_size=8))
def test_distinct_names_have_distinct_safe_file_names(names: list[str]) -> None:
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    for name in safe:
        assert 0 < len(name) <= 160 and "/" not in name and not name.startswith(".")
        assert name.isascii() and name.isprintable()


def test_logs_stay_inside_their_run(store: HomeStore, home: Path) -> None:
    log = store.log_path("r", "../../../etc/passwd")
    assert log.parent == home / "runs/r/logs"
    log.write_text("fine")
