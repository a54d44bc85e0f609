"""The home stays within its budget, and what goes is what was used least recently."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from coopery.steps import Identity, Success
from coopery.testing import Project
from coopery_store.options import Limits
from coopery_store.store import HomeStore

from .conftest import put_folder, put_text, record
from .test_crashes import killed_at

KIB = 1024


def limits(budget: float | None = 0, age: float = 0, keep_runs: int = 1000) -> Limits:
    return Limits(budget=budget, age=age, keep_runs=keep_runs)


def filled(home: Path, number: int = 6, size: int = 20 * KIB) -> list[Identity]:
    """Results of a session that has ended, with times of last use in their order."""
    store = HomeStore(home)
    found = [put_text(store, f"{n}" * size) for n in range(number)]
    store.remember([record(f"k{n}", o=identity) for n, identity in enumerate(found)])
    store.close()
    aged(home, {identity.digest: 1000 + n for n, identity in enumerate(found)})
    return found


def aged(home: Path, times: dict[str, int]) -> None:
    """Say when things were last used. What the file system knows of it nobody can set, so that
    these tests let the age be 0.
    """
    store = HomeStore(home)
    change = "INSERT OR REPLACE INTO uses(name, used) VALUES(?, ?)"
    store._index.apply([(change, list(times.items()))])
    store.close()


def there(store: HomeStore, identities: list[Identity]) -> list[bool]:
    return [store._objects.path(identity.digest).exists() for identity in identities]


@pytest.fixture
def by_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is that of the noted uses, as if the files were older than all of them."""
    import coopery_store.survey as module

    real = module._item

    def item(kind, name, path, status, known, fresh):  # type: ignore[no-untyped-def]
        made = real(kind, name, path, status, known, fresh)
        used = known.get(name, (made.used, None))[0]
        return module.Item(
            kind=made.kind, name=made.name, path=made.path, size=made.size, used=used
        )

    monkeypatch.setattr(module, "_item", item)


def test_nothing_goes_within_the_budget(home: Path) -> None:
    results = filled(home)
    store = HomeStore(home)
    swept = store.sweeper.sweep(limits(budget=10**9))
    assert swept.freed == 0 and all(there(store, results))
    store.close()


def test_the_least_recently_used_goes_first_and_only_as_much_as_needed(
    home: Path, by_use: None
) -> None:
    results = filled(home)
    store = HomeStore(home)
    size = store.sweeper.look().size
    swept = store.sweeper.sweep(limits(budget=size - 30 * KIB))
    assert there(store, results) == [False, False, True, True, True, True]
    assert swept.evicted == {"object": 2} and swept.after <= size - 30 * KIB
    assert sum(item.size for item in store.sweeper.look().of("object")) == 80 * KIB
    assert store.recall(["k0"])["k0"].outputs["o"] == results[0], "records outlive bytes"
    assert store.find(results[0]) is None
    store.close()


def test_a_use_counts(home: Path, by_use: None) -> None:
    results = filled(home)
    store = HomeStore(home)
    assert store.find(results[0]) is not None
    store.close()
    store = HomeStore(home)
    size = store.sweeper.look().size
    store.sweeper.sweep(limits(budget=size - 10 * KIB))
    assert there(store, results) == [True, False, True, True, True, True]
    store.close()


def test_a_use_noted_lately_is_not_written_again(home: Path) -> None:
    results = filled(home)
    for changes in (1, 0):
        store = HomeStore(home)
        assert store.find(results[0]) is not None
        assert len(list(store._uses.changes()[0][1])) == changes
        store._uses._noted.clear()
        store.find(results[0])
        store.close()


def test_the_latest_success_of_a_recipe_goes_last(home: Path, by_use: None) -> None:
    results = filled(home)
    store = HomeStore(home)
    keeps = (results[0].digest,)
    store.remember([], [Success(recipe="/r", step="fit", key="k0", keeps=keeps, run="2")])
    size = store.sweeper.look().size
    store.sweeper.sweep(limits(budget=size - 90 * KIB))
    assert there(store, results) == [True, False, False, False, False, False]
    store.sweeper.sweep(limits())
    assert not any(there(store, results)), "last, but not never"
    store.close()


def test_what_is_young_stays(home: Path) -> None:
    results = filled(home)
    store = HomeStore(home)
    swept = store.sweeper.sweep(limits(age=3600))
    assert swept.freed == 0 and swept.young >= len(results) and swept.over
    assert all(there(store, results))
    store.close()


def test_what_another_process_leases_stays(home: Path) -> None:
    results = filled(home, 3)
    other = HomeStore(home)
    other.lease([results[1]])
    store = HomeStore(home)
    swept = store.sweeper.sweep(limits())
    assert there(store, results) == [False, True, False] and swept.in_use == 1
    other.close()
    store.sweeper.sweep(limits())
    assert there(store, results) == [False, False, False]
    store.close()


def make_place(home: Path, key: str) -> Identity:
    store = HomeStore(home)
    folder = store.place(key)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").write_text("x" * 50 * KIB)
    store.complete(key)
    store.remember([record(key)])
    store.close()
    return Identity(digest=key, kind="place")


def test_environments_go_unless_they_are_in_use(home: Path) -> None:
    one, two = make_place(home, "one"), make_place(home, "two")
    other, store = HomeStore(home), HomeStore(home)
    other.lease([two])
    assert other.find(two)
    swept = store.sweeper.sweep(limits())
    assert store.find(one) is None and store.find(two) is not None
    assert swept.evicted["place"] == 1 and swept.freed >= 50 * KIB
    assert sorted(p.name for p in (home / "places").iterdir()) == ["two", "two.complete"]
    assert store.drop(two) is False
    other.close()
    store.close()


def test_an_environment_that_is_being_made_stays(home: Path) -> None:
    maker, store = HomeStore(home), HomeStore(home)
    folder = maker.place("new")
    store.sweeper.sweep(limits())
    (folder / "python").write_text("x")
    maker.complete("new")
    assert maker.find(Identity(digest="new", kind="place")) == folder
    maker.close()
    store.close()


def test_build_environments_go_unless_somebody_holds_their_lock(home: Path) -> None:
    import fcntl

    HomeStore(home).close()
    for name in ("a", "b"):
        (home / "build-envs" / name).mkdir(parents=True)
        (home / "build-envs" / name / "complete").touch()
        os.utime(home / "build-envs" / name / "complete", (1000, 1000))
    store = HomeStore(home)
    with (home / "build-envs" / "a.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        store.sweeper.sweep(limits(age=3600))
        assert [p.name for p in (home / "build-envs").iterdir() if p.is_dir()] == ["a"]
    store.sweeper.sweep(limits(age=3600))
    assert not [p for p in (home / "build-envs").iterdir() if p.is_dir()]
    store.close()


def a_run(store: HomeStore, run: str, *, end: bool = True) -> None:
    texts = dict.fromkeys(("run", "recipe", "runtime"), "x")
    lists: dict[str, list[str]] = {name: [] for name in ("targets", "steps", "supplied")}
    now = "2026-01-01T00:00:00+00:00"
    head = {"schema": 2, **texts, **lists, "source": None, "started": now}
    log = store.begin_run(run, {**head, "state": "running"}, lambda force: None)
    store.log_path(run, "fit").write_text("said\n")
    if end:
        log.end({**head, "state": "ended", "ended": now, "exit_code": 0})


def test_only_so_many_runs_are_kept_and_those_that_live(home: Path) -> None:
    store = HomeStore(home)
    a_run(store, "2026-0", end=False)
    for number in range(1, 6):
        a_run(store, f"2026-{number}")
    swept = store.sweeper.sweep(limits(budget=None, keep_runs=2))
    assert store.runs() == ["2026-5", "2026-4", "2026-0"]
    assert swept.evicted == {"run": 3} and swept.in_use == 1
    store.close()


def test_a_dry_run_changes_nothing_and_foretells(home: Path, by_use: None) -> None:
    results = filled(home)
    store = HomeStore(home)
    foretold = store.sweeper.sweep(limits(), dry_run=True)
    assert all(there(store, results)) and foretold.evicted == {"object": 6}
    assert store.sweeper.sweep(limits()).evicted == foretold.evicted
    store.close()


# -- by itself ------------------------------------------------------------------------------------


def test_a_run_that_outgrows_the_budget_evicts_at_its_end(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [task.make]
        params.n = 0
        command = ["sh", "-c", "head -c 400000 /dev/urandom > $COOPERY_OUTPUT_X; : {params.n}"]
        outputs.x = {}
        """,
    )
    env = {"COOPERY_CACHE_BUDGET": "1Mi", "COOPERY_CACHE_AGE": "0"}
    told = ""
    for number in range(6):
        answer = project.coopery("run", "--set", f"make.n={number}", env=env)
        assert answer.exit_code == 0, answer.stderr
        told += answer.stderr
    assert "evicted" in told
    size = project.coopery("cache", "info", "--json").json["size"]
    assert size < 2 * 1024**2, "a run's own bytes are in use at its end, and so may stay"
    young = project.coopery("run", "--set", "make.n=9", "--cache-age", "1d", env=env)
    assert "evicted" not in young.stderr


def test_whether_to_evict_is_known_without_a_walk(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(home)
    store = HomeStore(home)
    assert store._uses.due(home, limits(budget=10**9)), "nothing was measured yet"
    store.sweeper.sweep(limits(budget=10**9))
    monkeypatch.setattr("coopery_store.sweeping.survey", None)  # a walk would fail now
    assert not store._uses.due(home, limits(budget=10**9))
    store._limits = limits(budget=10**9)
    assert store.tidy() == ""
    put_text(store, "x" * 500 * KIB)
    assert store._uses.due(home, limits(budget=400 * KIB))
    assert not store._uses.due(home, limits(budget=10**9))
    store.close()


# -- killed, and at once --------------------------------------------------------------------------


def sweep_all(home: Path) -> None:
    store = HomeStore(home)
    store.sweeper.sweep(limits())
    store.close()


def test_gc_killed_before_any_change_leaves_a_whole_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    number, killed = 0, True
    while killed:
        number += 1
        store = HomeStore(home)
        file, folder = put_text(store, "1"), put_folder(store, {"a": "2", "b": "3"})
        place = store.place("p")
        (place / "python").write_text("x")
        store.complete("p")
        made = Identity(digest="p", kind="place")
        store.remember([record("k", file=file, folder=folder, p=made)])
        a_run(store, f"r{number}")
        store.close()
        killed = killed_at(number, partial(sweep_all, home))
        store = HomeStore(home)
        assert store.recall(["k"])["k"].outputs["file"] == file
        store.lease([file, folder])
        assert store.find(file) in (None, store._objects.path(file.digest))
        for identity in (file, folder):
            found = store.find(identity)
            assert found is None or store.identify(found).digest == identity.digest
        check = store.check(repair=False, tell=lambda text: None)
        assert not check.damages, (number, check.damages)
        store.close()
        store = HomeStore(home)
        store.sweeper.sweep(limits())
        store.rebuild()
        assert store.recall(["k"])["k"].outputs["file"] == file
        store.close()
        left = [p for top in ("objects", "places", "runs") for p in (home / top).rglob("*")]
        assert not [p for p in left if not p.is_dir() or p.parent.name != "objects"], number
    assert number > 25


USER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from coopery.steps import Identity
from coopery_store.store import HomeStore
from store.conftest import put_text, put_folder, record
end = time.time() + float(sys.argv[3])
turns = 0
while time.time() < end:
    turns += 1
    store = HomeStore(Path(sys.argv[1]))
    file = put_text(store, "same")
    folder = put_folder(store, {"a": "1", "b": "2"})
    place = Identity(digest="shared", kind="place")
    store.lease([place])
    if store.find(place) is None:
        with store.claim("shared"):
            if store.find(place) is None:
                made = store.place("shared")
                (made / "one").write_text("1")
                (made / "two").write_text("2")
                store.complete("shared")
    store.remember([record(f"k{turns}", file=file)])
    for _ in range(20):
        assert store.find(file) is not None, "a file was lost"
        found = store.find(folder)
        assert found is not None and (found / "b").read_text() == "2", "a folder was lost"
        at = store.find(place)
        assert at is not None and (at / "two").read_text() == "2", "an environment was lost"
    store.close()
print(turns)
"""


def test_runs_lose_nothing_while_another_process_evicts_and_is_killed(home: Path) -> None:
    HomeStore(home).close()
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", USER, str(home), tests, "4"]
    users = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    turn = 0
    while any(user.poll() is None for user in users):
        turn += 1
        child = os.fork()
        if child == 0:
            store = HomeStore(home)
            while True:
                store.sweeper.sweep(limits())
        time.sleep(0.15 + 0.01 * (turn % 7))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL, "eviction failed by itself"
    for user in users:
        output, _ = user.communicate()
        assert user.returncode == 0 and int(output) > 1
    assert turn > 3


# -- the memory -----------------------------------------------------------------------------------


def journal(home: Path) -> str:
    return (home / "records" / "journal.jsonl").read_text()


def test_the_journal_is_compacted_and_nothing_is_forgotten(home: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.touch()
    store = HomeStore(home)
    made = put_text(store, "1")
    for number in range(50):
        success = Success(recipe=str(recipe), step="fit", key="k", run=f"2026{number:04}")
        store.remember([record("k", finished=float(number), o=made)], [success])
    store.deliver(made, tmp_path / "out", overwrite=False)
    before = len(journal(home))
    swept = store.sweeper.sweep(limits(budget=None))
    assert swept.compacted == before - len(journal(home)) > before * 0.9
    store.rebuild()
    assert store.recall(["k"])["k"].finished == 49.0
    assert store.latest(str(recipe))["fit"].run == "20260049"
    assert store.deliverable([tmp_path / "out"])[tmp_path / "out"] == made.digest
    assert store.sweeper.sweep(limits(budget=None)).compacted == 0
    store.remember([record("later")])
    assert "later" in journal(home) and "later" in store.recall(["later"])
    store.close()


def test_the_memory_of_what_is_gone_goes(home: Path, tmp_path: Path) -> None:
    gone, away, here = (tmp_path / name for name in ("gone.toml", "away.toml", "here.toml"))
    here.write_text("x")
    (tmp_path / "deleted").write_text("x")
    store = HomeStore(home)
    runs = {gone: "20200101T", away: time.strftime("%Y%m%dT"), here: "20200101T"}
    for recipe, run in runs.items():
        store.remember([], [Success(recipe=str(recipe), step="fit", key="k", run=run)])
    for path in (here, tmp_path / "deleted"):
        store.identify(path)
    (tmp_path / "listed").mkdir()
    listed = store.identify(tmp_path / "listed")
    store.remember([record("k")])
    (tmp_path / "deleted").unlink()
    store.sweeper.sweep(limits(budget=None))
    assert not store.latest(str(gone))
    assert store.latest(str(away)), "a disk may only be unplugged"
    assert store.latest(str(here))
    rows = store._index.select("SELECT path FROM stats")
    assert [path for (path,) in rows] == [os.fsencode(here)]
    assert not store._index.select("SELECT 1 FROM folders WHERE digest = ?", (listed.digest,))
    store.close()


def test_a_journal_cut_off_is_written_anew_from_both(home: Path) -> None:
    store = HomeStore(home)
    store.remember([record("a"), record("b"), record("c")])
    store.close()
    path = home / "records" / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:100])
    store = HomeStore(home)
    store.rebuild()
    assert set(store.recall(["a", "b", "c"])) == {"a", "b", "c"}
    store.close()
