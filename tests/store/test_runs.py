"""Runs and logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopery.errors import MachineError, RecipeError
from coopery_store.home import safe_name
from coopery_store.store import HomeStore


def test_runs_are_kept_and_listed_latest_first(store: HomeStore, home: Path) -> None:
    for run in ("20260101T000000-a", "20260301T000000-c", "20260201T000000-b"):
        store.write_run(run, {"id": run, "name": "ä\udcff", "steps": [1, None]})
    store.log_path("20270101T000000-started", "fit")
    assert store.runs() == ["20260301T000000-c", "20260201T000000-b", "20260101T000000-a"]
    assert store.read_run("20260201T000000-b")["name"] == "ä\udcff"
    assert [p.name for p in (home / "runs/20260101T000000-a").iterdir()] == ["record.json"]


def test_an_unknown_run_offers_the_nearest(store: HomeStore) -> None:
    store.write_run("20260101T000000-a", {})
    with pytest.raises(RecipeError) as error:
        store.read_run("20260101T000000-b")
    assert error.value.problems[0].slug == "unknown-run"
    assert "20260101T000000-a" in (error.value.problems[0].hint or "")
    with pytest.raises(RecipeError):
        store.read_run("../../etc")


def test_a_damaged_run_is_told(store: HomeStore, home: Path) -> None:
    store.write_run("r", {})
    (home / "runs/r/record.json").write_text("{")
    with pytest.raises(MachineError) as error:
        store.read_run("r")
    assert error.value.problems[0].slug == "run-damaged"


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
