"""One lock for several machines: all files of a version, and the platforms it holds for."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coopery.dependencies import LocalDistribution, Requirement
from coopery.errors import CooperyError, Place, RecipeError
from coopery.options import LockPolicy
from coopery_lock import platforms

HERE = platforms.own_platform()
FOREIGN = next(p for p in ("darwin-arm64", "linux-x86_64") if p != HERE)
MACHINE = HERE.partition("-")[2]
TAGS = (
    f"cp311-cp311-manylinux_2_17_{MACHINE}",
    "cp311-cp311-macosx_11_0_arm64",
    "cp311-cp311-win_amd64",
    f"cp312-cp312-manylinux_2_17_{MACHINE}",
)


def sha(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def elsewhere(monkeypatch: Any) -> Callable[[str], None]:
    """Move to another machine."""

    def move(platform: str) -> None:
        for module in ("platforms", "wanted", "solver"):
            monkeypatch.setattr(f"coopery_lock.{module}.own_platform", lambda: platform)

    return move


@pytest.fixture
def offline(monkeypatch: Any) -> Callable[[], None]:
    def forbid() -> None:
        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("a process was started")

        monkeypatch.setattr(subprocess, "Popen", refuse)

    return forbid


@pytest.mark.parametrize("kind", ["folder", "page"])
def test_the_lock_has_the_hashes_of_all_files(
    bench: Any, wheel: Any, sdist: Any, monkeypatch: Any, kind: str
) -> None:
    index = bench.index if kind == "folder" else bench.root / "index" / "fat"
    files = [wheel(index, "fat", "1.0", tag=tag) for tag in TAGS]
    files.append(sdist(index, "fat", "1.0"))
    if kind == "page":
        # An index of pages without hashes, as a plain web server has it.
        (index / "index.html").write_text("".join(f'<a href="{f.name}">x</a>\n' for f in files))
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", index.parent.as_uri())
    bench.image("fat")
    (pin,) = bench.lock().pins["a"]
    assert pin.hashes == tuple(sorted(map(sha, files)))


def test_an_entry_without_platforms_in_it_holds_everywhere(
    bench: Any, elsewhere: Any, offline: Any
) -> None:
    bench.image("beta")
    pins = bench.lock().pins
    text = bench.lock_text
    elsewhere(FOREIGN)
    offline()
    assert bench.lock(LockPolicy.LOCKED).pins == pins
    assert bench.lock().pins == pins
    assert bench.lock_text == text


def test_a_marker_binds_an_entry_to_platforms(bench: Any, wheel: Any, elsewhere: Any) -> None:
    system = "darwin" if FOREIGN.startswith("darwin") else "linux"
    wheel(bench.index, "marked", "1.0", f"alpha; sys_platform == '{system}'")
    bench.image("marked")
    assert [p.name for p in bench.lock().pins["a"]] == ["marked"]
    assert f"'{FOREIGN}'" not in bench.lock_text
    assert f"'{HERE}'" in bench.lock_text
    elsewhere(FOREIGN)
    with pytest.raises(RecipeError, match=f"resolved for .*, not {FOREIGN}"):
        bench.lock(LockPolicy.LOCKED)


def test_entries_of_two_platforms_stand_side_by_side(
    bench: Any, wheel: Any, elsewhere: Any, offline: Any
) -> None:
    wheel(bench.index, "bound", "1.0", tag=TAGS[0])
    bench.image("bound")
    first = bench.lock().pins
    assert bench.lock_text.count("[[set]]") == 1
    ours = bench.lock_text
    elsewhere(FOREIGN)
    bench.lock()
    assert bench.lock_text.count("[[set]]") == 2
    assert f"platforms = [\n    '{FOREIGN}',\n]" in bench.lock_text
    both = bench.lock_text
    elsewhere(HERE)
    offline()
    assert bench.lock().pins == first
    assert bench.lock_text == both
    assert ours.split("[[set]]")[1].strip() in both


def test_what_only_another_platform_cannot_have_is_no_error(bench: Any, wheel: Any) -> None:
    wheel(bench.index, "stuck", "1.0", "lost; sys_platform == 'win32'", "alpha")
    bench.image("stuck")
    lock = bench.lock()
    assert [p.requirement for p in lock.pins["a"]] == ["alpha==2.0", "stuck==1.0"]
    assert all(p.hashes for p in lock.pins["a"])
    assert f"platforms = [\n    '{HERE}',\n]" in bench.lock_text


def test_hashes_of_other_machines_alone_are_a_mismatch(bench: Any, wheel: Any) -> None:
    for tag in TAGS:
        wheel(bench.index, "fat", "1.0", tag=tag)
    foreign = sha(bench.index / "fat-1.0-cp311-cp311-win_amd64.whl")
    bench.image(requirements=f"fat==1.0 --hash={foreign}\n")
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    assert [p.slug for p in caught.value.problems] == ["hash-mismatch"]


@pytest.mark.parametrize(
    ("file", "fits"),
    [
        ("x-1.tar.gz", True),
        ("x-1-py3-none-any.whl", True),
        ("x-1-py2.py3-none-any.whl", True),
        ("x-1-py2-none-any.whl", False),
        ("x-1-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("x-1-cp313-abi3-manylinux_2_17_x86_64.whl", False),
        ("x-1-cp311-cp311-musllinux_1_2_x86_64.whl", True),
        ("x-1-cp311-cp311-manylinux_2_17_aarch64.whl", False),
        ("x-1-cp312-cp312-manylinux_2_17_x86_64.whl", False),
        ("x-1-cp311-cp311-win_amd64.whl", False),
    ],
)
def test_which_files_suit_a_platform(file: str, fits: bool) -> None:
    assert platforms.suits(file, "3.11", "linux-x86_64") is fits


def test_a_universal_wheel_suits_both_kinds_of_mac() -> None:
    file = "x-1-cp311-cp311-macosx_10_9_universal2.whl"
    assert platforms.suits(file, "3.11", "darwin-arm64")
    assert platforms.suits(file, "3.11", "darwin-x86_64")
    assert not platforms.suits(file, "3.11", "win32-amd64")


def local(version: str, *requires: str, python: str | None = None) -> LocalDistribution:
    place = Place(file="pyproject.toml", line=7)
    return LocalDistribution(
        name="my-local",
        version=version,
        requires=tuple(Requirement(line=r, place=place, origin="my-local") for r in requires),
        place=place,
        requires_python=python,
    )


def test_an_own_version_that_nobody_asks_for_outdates_nothing(bench: Any, offline: Any) -> None:
    bench.image("alpha")
    bench.locals = (local("1.0.dev1+gabc", "beta"),)
    bench.lock()
    text = bench.lock_text
    assert "dev1" not in text
    offline()
    bench.locals = (local("1.0.dev2+gdef", "beta"),)
    bench.lock()
    bench.lock(LockPolicy.LOCKED)
    assert bench.lock_text == text


@pytest.mark.parametrize("line", ["uses-local", "my-local>=2"])
def test_an_own_version_that_others_depend_on_is_held_to(bench: Any, line: str) -> None:
    bench.image("alpha", line)
    bench.locals = (local("3.0"),)
    bench.lock()
    assert "my-local 3.0" in bench.lock_text
    bench.locals = (local("1.0"),)
    with pytest.raises(RecipeError) as caught:
        bench.lock(LockPolicy.LOCKED)
    assert caught.value.problems[0].slug == "lock-outdated"
    assert "my-local 3.0" in caught.value.problems[0].message
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    assert caught.value.problems[0].slug == "dependency-conflict"
    bench.locals = (local("4.0"),)
    bench.lock()
    assert "my-local 4.0" in bench.lock_text


def test_own_projects_without_requirements_need_no_resolver(bench: Any, offline: Any) -> None:
    offline()
    bench.image()
    bench.locals = (local("1.0"),)
    assert bench.lock().pins == {"a": ()}
    assert bench.lock().changed == ()


@pytest.mark.parametrize("python", [">=3.11.4", ">3.11.4,<3.12", ">=3.11,<3.12", ">=3.11.4odd"])
def test_the_pythons_that_an_own_project_asks_for(bench: Any, python: str) -> None:
    bench.image("alpha")
    bench.locals = (local("1.0", python=python),)
    if python.endswith("odd"):
        with pytest.raises(CooperyError):
            bench.lock()
        return
    assert [p.name for p in bench.lock().pins["a"]] == ["alpha"]
    assert f"'{FOREIGN}'" in bench.lock_text
