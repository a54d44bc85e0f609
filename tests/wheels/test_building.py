"""Wheels are built from clean copies, verified, and equal for equal content."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coopery.dependencies import IndexOptions, Lock
from coopery.errors import MachineError, StepError
from coopery.model import Image, Output, Project, Task

from .conftest import HATCH, Bench, make_backend, make_wheel, write


def git(folder: Path, *arguments: str) -> None:
    names = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


def hatch(root: Path) -> Path:
    return write(root, {"pyproject.toml": HATCH, "iris_kit/__init__.py": "x = 1\n"})


def test_build_gives_one_canonical_wheel(bench: Bench) -> None:
    hatch(bench.root)
    (step,) = bench.steps(bench.recipe("."))
    assert (step.name, step.subject, step.outputs) == ("wheel iris-kit", "iris-kit", ("wheel",))
    made, wheel = bench.perform(step)
    assert wheel.name == "iris_kit-1.2-py3-none-any.whl"
    assert made.facts["version"] == "1.2"
    assert made.facts["built_at"] is None
    time.sleep(0.01)
    os.utime(bench.root / "iris_kit/__init__.py", (1, 1))
    _, again = bench.perform(step)
    assert again.read_bytes() == wheel.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        assert "iris_kit/__init__.py" in archive.namelist()
        assert {m.date_time[0] for m in archive.infolist()} == {1980}
        assert {m.compress_type for m in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.namelist()[-1].endswith("RECORD")


def test_second_build_reuses_the_environment_and_is_fast(bench: Bench) -> None:
    hatch(bench.root)
    recipe = bench.recipe(".")
    bench.perform(bench.steps(recipe)[0])
    environments = {p.name for p in (bench.home / "build-envs").iterdir()}
    (bench.root / "iris_kit/__init__.py").write_text("x = 2\n")
    _, wheel = bench.perform(bench.steps(recipe)[0])
    assert {p.name for p in (bench.home / "build-envs").iterdir()} == environments
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("iris_kit/__init__.py") == b"x = 2\n"


def test_builds_use_the_images_indexes(bench: Bench) -> None:
    """`own-backend` is in a folder that only the requirements file of one image names."""
    shelf = bench.root / "shelf"
    make_backend(shelf)
    project = '[project]\nname = "made"\nversion = "7"\n'
    system = '[build-system]\nrequires = ["own-backend"]\nbuild-backend = "own_backend"\n'
    write(bench.root / "lib", {"pyproject.toml": project + system})
    recipe = bench.recipe("lib")
    images = {name: replace(recipe.images["a"], name=name) for name in "ab"}
    recipe = replace(recipe, images=images)
    with pytest.raises(StepError) as caught:
        bench.perform(bench.steps(recipe)[0])
    assert caught.value.problems[0].slug == "build-requires"
    lock = Lock(index={"b": IndexOptions(find_links=(str(shelf),), no_index=True)})
    (step,) = bench.steps(recipe, "a", lock)
    assert (step,) == bench.steps(recipe, "b", lock)
    made, _ = bench.perform(step)
    assert made.facts["version"] == "7"


def test_an_environment_tells_when_it_was_last_used(bench: Bench) -> None:
    hatch(bench.root)
    (bench.home / "build-envs").unlink()
    (step,) = bench.steps(bench.recipe("."))
    bench.perform(step)
    (mark,) = (bench.home / "build-envs").glob("*/complete")
    os.utime(mark, (1, 1))
    bench.perform(step)
    assert time.time() - mark.stat().st_mtime < 600


def test_planning_starts_no_process_outside_git(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    hatch(bench.root)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    recipe = bench.recipe(".")
    assert bench.slugs(recipe) == []
    assert bench.steps(recipe)


def test_environment_left_half_made_is_made_anew(bench: Bench) -> None:
    hatch(bench.root)
    (bench.home / "build-envs").unlink()
    (step,) = bench.steps(bench.recipe("."))
    bench.perform(step)
    (environment,) = [p for p in (bench.home / "build-envs").iterdir() if p.is_dir()]
    (environment / "complete").unlink()
    (environment / "bin" / "python").unlink()
    bench.perform(step)
    assert (environment / "complete").exists()


def test_sources_leave_out_what_coopery_makes(bench: Bench) -> None:
    hatch(bench.root)
    write(bench.root, {"out/table.csv": "1", "recipe.lock": "", "fold-1.txt": "", "keep.txt": ""})
    outputs = {"t": Output(path="out/"), "f": Output(path="fold-{matrix.f}.txt")}
    recipe = bench.recipe(".", tasks={"t": Task(name="t", outputs=outputs)})
    inside = replace(recipe)
    bench.home = bench.root / ".coopery"
    write(bench.home, {"objects/x": "1"})
    (step,) = bench.steps(inside)
    assert step.needs[0].source.files == (  # type: ignore[union-attr]
        "iris_kit/__init__.py",
        "keep.txt",
        "pyproject.toml",
    )


def test_setuptools_leftovers_never_ship(bench: Bench) -> None:
    write(
        bench.root,
        {
            "setup.py": "from setuptools import setup\n"
            "setup(name='old', version='3', py_modules=['old'])\n",
            "old.py": "",
            "build/lib/gone.py": "",
            "old.egg-info/PKG-INFO": "",
        },
    )
    (step,) = bench.steps(bench.recipe("."))
    assert step.subject == "old"
    _, wheel = bench.perform(step)
    with zipfile.ZipFile(wheel) as archive:
        assert "old.py" in archive.namelist()
        assert "gone.py" not in archive.namelist()


def test_failing_backend_says_why(bench: Bench) -> None:
    write(bench.root, {"setup.py": "print('here it comes')\nraise SystemExit('no luck')\n"})
    write(bench.root, {"pyproject.toml": '[project]\nname = "x"\nversion = "1"\n'})
    (step,) = bench.steps(bench.recipe("."))
    with pytest.raises(StepError) as caught:
        bench.perform(step)
    (problem,) = caught.value.problems
    assert problem.slug == "build-failed"
    assert "no luck" in problem.message


def test_unavailable_build_requirements_are_named(bench: Bench) -> None:
    text = HATCH.replace('["hatchling"]', '["hatchling", "no-such-backend-of-coopery>=9"]')
    write(bench.root, {"pyproject.toml": text, "iris_kit/__init__.py": ""})
    with pytest.raises(StepError) as caught:
        bench.perform(bench.steps(bench.recipe("."))[0])
    assert caught.value.problems[0].slug == "build-requires"
    assert "no-such-backend-of-coopery" in caught.value.problems[0].message


def test_an_index_of_build_requirements_that_refuses_is_named(
    bench: Bench,
    tmp_path: Path,
    guard_index: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_backend(tmp_path / "index")
    host = guard_index(tmp_path / "index", "cooper", "right")
    (tmp_path / "simple").mkdir()
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"http://cooper:wr0ngone@{host}/simple/")
    system = '[build-system]\nrequires = ["own-backend"]\nbuild-backend = "own_backend"\n'
    project = '[project]\nname = "made"\nversion = "7"\n'
    write(bench.root / "lib", {"pyproject.toml": project + system})
    with pytest.raises(MachineError) as caught:
        bench.perform(bench.steps(bench.recipe("lib"))[0])
    (problem,) = caught.value.problems
    assert problem.slug == "index-credentials" and host in problem.message
    assert "wr0ngone" not in str(problem)


def test_a_full_disk_is_told_when_build_requirements_are_installed(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    big = {"own_backend.py": secrets.token_hex(4 << 20).encode()}
    make_wheel(index, "own_backend-1-py3-none-any.whl", name="own_backend", version="1", files=big)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    system = '[build-system]\nrequires = ["own-backend"]\nbuild-backend = "own_backend"\n'
    project = '[project]\nname = "made"\nversion = "7"\n'
    bench = Bench(tmp_path / "work", small_disk)
    write(bench.root / "lib", {"pyproject.toml": project + system})
    with pytest.raises(MachineError) as caught:
        bench.perform(bench.steps(bench.recipe("lib"))[0])
    (problem,) = caught.value.problems
    assert problem.slug == "disk-full" and problem.hint


def test_cancelling_ends_the_backend(bench: Bench) -> None:
    write(bench.root, {"setup.py": "import time\ntime.sleep(60)\n"})
    write(bench.root, {"pyproject.toml": '[project]\nname = "x"\nversion = "1"\n'})
    (step,) = bench.steps(bench.recipe("."))
    cancelled = threading.Event()
    threading.Timer(1.5, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(StepError) as caught:
        bench.perform(step, cancelled)
    assert caught.value.problems[0].slug == "cancelled"
    assert time.monotonic() - began < 20


def test_wheel_of_another_name_is_refused(bench: Bench) -> None:
    hatch(bench.root)
    (step,) = bench.steps(bench.recipe("."))
    with pytest.raises(StepError) as caught:
        bench.perform(replace(step, work=replace(step.work, distribution="other")))  # type: ignore[type-var]
    assert caught.value.problems[0].slug == "wheel-mismatch"


def test_missing_python_is_the_machines_fault(bench: Bench) -> None:
    hatch(bench.root)
    (step,) = bench.steps(bench.recipe(".", python="3.99"))
    assert step.name == "wheel iris-kit (3.99)"
    with pytest.raises(MachineError) as caught:
        bench.perform(step)
    assert caught.value.problems[0].slug == "python-missing"


def test_two_images_share_one_step(bench: Bench) -> None:
    hatch(bench.root)
    recipe = bench.recipe(Project(".", extras=("plot",)))
    other = Image(name="b", facets=bench.recipe(".").images["a"].facets)
    recipe = replace(recipe, images={**recipe.images, "b": other})
    assert bench.steps(recipe, "a") == bench.steps(recipe, "b")


def test_like_named_projects_have_different_steps(bench: Bench) -> None:
    hatch(bench.root / "one")
    hatch(bench.root / "two")
    recipe = bench.recipe("one")
    other = Image(name="b", facets=bench.recipe("two").images["a"].facets)
    recipe = replace(recipe, images={**recipe.images, "b": other})
    names = {step.name for image in "ab" for step in bench.steps(recipe, image)}
    assert names == {"wheel iris-kit [one]", "wheel iris-kit [two]"}


SCM = """\
[build-system]
requires = ["setuptools", "setuptools-scm"]
build-backend = "setuptools.build_meta"
[project]
name = "versioned"
dynamic = ["version"]
dependencies = ["numpy"]
[tool.setuptools]
py-modules = ["versioned"]
[tool.setuptools_scm]
"""


@pytest.mark.parametrize("below", ["", "libs/versioned"])
def test_version_from_git(bench: Bench, below: str) -> None:
    text = SCM.replace(
        "[tool.setuptools_scm]", f'[tool.setuptools_scm]\nroot = "{"../.." if below else "."}"'
    )
    write(bench.root / below, {"pyproject.toml": text, "versioned.py": ""})
    write(bench.root, {"recipe.lock": "tracked", "elsewhere.txt": ""})
    git(bench.root, "init", "--quiet")
    git(bench.root, "add", ".")
    git(bench.root, "commit", "--quiet", "-m", "first")
    git(bench.root, "tag", "v2.5")
    recipe = bench.recipe(below or ".")
    (step,) = bench.steps(recipe)
    made, _ = bench.perform(step)
    assert made.facts["version"] == "2.5"
    assert made.facts["built_at"]["dirty"] is False
    before = (bench.root / ".git/index").read_bytes()
    (bench.root / below / "versioned.py").write_text("y = 1\n")
    made, _ = bench.perform(bench.steps(recipe)[0])
    assert made.facts["version"].startswith("2.6.dev0")
    assert made.facts["built_at"]["dirty"] is True
    assert (bench.root / ".git/index").read_bytes() == before
    git(bench.root, "commit", "--quiet", "-am", "second")
    git(bench.root, "tag", "v3.0")
    (later,) = bench.steps(recipe)
    assert later.work != step.work
    made, _ = bench.perform(later)
    assert made.facts["version"] == "3.0"
