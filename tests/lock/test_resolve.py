"""Resolution and the lock file, against a folder of self-made wheels."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from coopery.dependencies import LocalDistribution, Requirement
from coopery.errors import MachineError, Place, RecipeError
from coopery.options import LockPolicy


def versions(lock: Any, image: str = "a") -> dict[str, str]:
    return {pin.name: pin.version for pin in lock.pins[image]}


def local(version: str, *requires: str, extras: tuple[str, ...] = ()) -> LocalDistribution:
    place = Place(file="pyproject.toml", line=7)
    return LocalDistribution(
        name="My_Local",
        version=version,
        requires=tuple(Requirement(line=r, place=place, origin="My_Local") for r in requires),
        place=place,
        extras=extras,
    )


def forbid(monkeypatch: Any) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_pins_are_exact_with_hashes(bench: Any) -> None:
    bench.image("beta")
    pins = bench.lock().pins["a"]
    assert [p.requirement for p in pins] == ["alpha==1.0", "beta==1.0"]
    wheel = bench.index / "alpha-1.0-py3-none-any.whl"
    assert pins[0].hashes == ("sha256:" + hashlib.sha256(wheel.read_bytes()).hexdigest(),)


def test_an_unchanged_lock_is_instant(bench: Any, monkeypatch: Any) -> None:
    bench.image("beta")
    first = bench.lock()
    forbid(monkeypatch)
    started = time.perf_counter()
    assert bench.lock().pins == first.pins
    assert bench.lock(LockPolicy.LOCKED).pins == first.pins
    assert time.perf_counter() - started < 0.1
    assert bench.lock().changed == ()


def test_order_of_declaration_does_not_matter(bench: Any, monkeypatch: Any) -> None:
    bench.image("beta", "alpha")
    bench.image("gamma", name="b")
    bench.lock()
    text = bench.lock_text
    forbid(monkeypatch)
    bench.images.clear()
    bench.image("gamma", name="b")
    bench.image("alpha", "beta")
    bench.lock()
    assert bench.lock_text == text


def test_equal_sets_share_an_entry(bench: Any) -> None:
    bench.image("beta")
    bench.image("beta", name="b")
    bench.lock()
    assert bench.lock_text.count("[[set]]") == 1


def test_an_empty_set_needs_no_entry(bench: Any) -> None:
    bench.image()
    assert bench.lock().pins == {"a": ()}
    assert not bench.recipe.lock_file.exists()


def test_a_changed_set_keeps_its_versions_until_upgraded(bench: Any) -> None:
    bench.image("alpha<2")
    bench.lock()
    bench.image("alpha")
    lock = bench.lock()
    assert versions(lock) == {"alpha": "1.0"}
    assert lock.changed == ("locked   a: 1 package",)
    lock = bench.lock(LockPolicy.UPGRADE)
    assert versions(lock) == {"alpha": "2.0"}
    assert "alpha = " not in lock.changed[0]
    assert versions(bench.lock(LockPolicy.LOCKED)) == {"alpha": "2.0"}


def test_locked_and_preview_write_nothing(bench: Any) -> None:
    bench.image("alpha<2")
    with pytest.raises(RecipeError) as caught:
        bench.lock(LockPolicy.LOCKED)
    assert caught.value.problems[0].slug == "lock-outdated"
    assert versions(bench.lock(LockPolicy.PREVIEW)) == {"alpha": "1.0"}
    assert not bench.recipe.lock_file.exists()
    bench.lock()
    bench.image("alpha")
    with pytest.raises(RecipeError, match=r"\+ alpha\n    - alpha<2"):
        bench.lock(LockPolicy.LOCKED)


def test_entries_of_images_not_asked_for_stay(bench: Any) -> None:
    bench.image("alpha")
    bench.image("beta", name="b")
    bench.lock()
    sets_of_a = bench.images.pop("b")
    recipe_of_both = bench.recipe
    bench.images["b"] = sets_of_a
    from coopery.dependencies import DependencySet

    found = bench.collect("a")
    one = DependencySet(
        image="a", python="3.11", requirements=found.requirements, locals=(), index=found.index
    )
    bench.resolve([one], LockPolicy.UPGRADE)
    assert "'b'" in bench.lock_text
    assert recipe_of_both.lock_file.exists()
    del bench.images["b"]
    bench.lock()
    assert "'b'" not in bench.lock_text


def test_a_conflict_names_every_line_quickly(bench: Any) -> None:
    bench.image("beta", requirements="# first\ngamma\n")
    started = time.perf_counter()
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    assert time.perf_counter() - started < 5
    (found,) = caught.value.problems
    assert found.slug == "dependency-conflict"
    assert "recipe.toml:1 (image.a.packages[0]): beta" in found.message
    assert "requirements.txt:2: gamma" in found.message
    assert "depend on alpha<2" in found.message
    assert not bench.recipe.lock_file.exists()


def test_constraints_restrict_and_are_named(bench: Any) -> None:
    (bench.root / "limits.txt").write_text("alpha<2\n")
    bench.image(requirements="-c limits.txt\nalpha\n")
    assert versions(bench.lock()) == {"alpha": "1.0"}
    bench.image(requirements="-c limits.txt\ngamma\n")
    with pytest.raises(RecipeError, match=r"limits\.txt:1: constraint alpha<2"):
        bench.lock()


@pytest.mark.parametrize("line", ["lost", "needs-lost"])
def test_an_unknown_package_is_named(bench: Any, line: str) -> None:
    bench.image("alpha", line)
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    (found,) = caught.value.problems
    assert found.slug == "unknown-package"
    assert "'lost'" in found.message
    assert found.place.line == 2


def test_another_python_is_asked_for_by_name(bench: Any) -> None:
    bench.image("future")
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    assert caught.value.problems[0].slug == "python-mismatch"
    assert "3.11" in caught.value.problems[0].message


def test_a_local_is_never_looked_up(bench: Any) -> None:
    bench.image("alpha")
    bench.locals = (local("3.0", "gamma; extra == 'g'", "beta"),)
    assert versions(bench.lock()) == {"alpha": "1.0", "beta": "1.0"}


def test_extras_of_a_local_count(bench: Any) -> None:
    bench.image("alpha")
    bench.locals = (local("3.0", "gamma; extra == 'g'", extras=("g",)),)
    assert versions(bench.lock()) == {"alpha": "2.0", "gamma": "1.0"}


def test_what_asks_for_a_local_is_held_against_its_version(bench: Any) -> None:
    bench.image("uses-local")
    bench.locals = (local("3.0"),)
    assert versions(bench.lock()) == {"uses-local": "1.0"}
    bench.locals = (local("1.0"),)
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    (found,) = caught.value.problems
    assert found.slug == "dependency-conflict"
    assert "pyproject.toml:7" in found.message
    assert "/tmp" not in found.message and "file:" not in found.message


def test_given_hashes_are_held_to(bench: Any) -> None:
    value = hashlib.sha256((bench.index / "alpha-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    bench.image(requirements=f"alpha==1.0 --hash=sha256:{value} --hash=sha256:{'0' * 64}\n")
    assert bench.lock().pins["a"][0].hashes == (f"sha256:{value}",)
    bench.image(requirements=f"alpha==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    assert caught.value.problems[0].slug == "hash-mismatch"
    assert str(caught.value.problems[0].place) == "requirements.txt:1"


def test_problems_of_several_images_come_together(bench: Any) -> None:
    bench.image("lost")
    bench.image("beta", "gamma", name="b")
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    assert [p.slug for p in caught.value.problems] == ["unknown-package", "dependency-conflict"]


def test_an_unbuildable_sdist_shows_its_log(bench: Any, sdist: Any) -> None:
    sdist(bench.index, "broken", "1.0", "raise SystemExit('the very reason')\n")
    bench.image("broken")
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    (found,) = caught.value.problems
    assert found.slug == "build-failed"
    assert "the very reason" in found.message
    assert found.place.key == ("image", "a", "packages", 0)


def test_an_archive_that_is_no_project_is_unbuildable(bench: Any, sdist: Any) -> None:
    sdist(bench.index, "hollow", "1.0")
    bench.image("hollow")
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    (found,) = caught.value.problems
    assert found.slug == "build-failed"
    assert "hollow" in found.message
    assert found.place.key == ("image", "a", "packages", 0)


def test_what_brought_an_unbuildable_package_in_is_named(
    bench: Any, sdist: Any, wheel: Any
) -> None:
    sdist(bench.index, "broken", "1.0", "raise SystemExit(1)\n")
    wheel(bench.index, "outer", "1.0", "broken")
    bench.image("alpha", "outer")
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    (found,) = caught.value.problems
    assert found.slug == "build-failed"
    assert found.place.key == ("image", "a", "packages", 1)


def test_a_version_without_a_usable_file_contradicts_nothing(bench: Any, sdist: Any) -> None:
    sdist(bench.index, "only", "1.0")
    bench.image(requirements="--only-binary :all:\nonly\n")
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    (found,) = caught.value.problems
    assert found.slug == "dependency-conflict"
    assert "no usable wheels" in found.message
    assert "contradict" not in found.message
    assert str(found.place) == "requirements.txt:2"


def test_the_time_limit_ends_every_process(bench: Any, sdist: Any) -> None:
    mark = bench.root / "pid"
    sdist(
        bench.index,
        "slow",
        "1.0",
        f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)\n",
    )
    bench.image("slow")
    with pytest.raises(MachineError) as caught:
        bench.lock(limit=3)
    assert caught.value.problems[0].slug == "resolution-timeout"
    pid = int(mark.read_text())
    time.sleep(0.2)
    alive = Path(f"/proc/{pid}/stat")
    assert not alive.exists() or alive.read_text().split()[2] == "Z"


def test_the_lock_is_written_whole_or_not_at_all(bench: Any, monkeypatch: Any) -> None:
    bench.image("alpha<2")
    bench.lock()
    before = bench.lock_text
    bench.image("alpha", "beta")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(MachineError) as caught:
        bench.lock()
    assert caught.value.problems[0].slug == "lock-unwritable"
    assert bench.lock_text == before
    assert [f.name for f in bench.root.iterdir()] == ["recipe.lock"]
