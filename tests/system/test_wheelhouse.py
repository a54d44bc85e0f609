"""recipes/wheelhouse: code from everywhere, under every runtime, and no trace of the password."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from coopery.testing import Project, make_project

pytestmark = pytest.mark.xdist_group("wheelhouse")

RECIPE = Path(__file__).parents[2] / "recipes" / "wheelhouse"
USER, PASSWORD = "cooper", "adze+s p@de%41"


def build_hoops(folder: Path, source: Path) -> None:
    """What the private index has, into a folder."""
    copy = shutil.copytree(RECIPE / "hoops", source / "hoops")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(copy)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, guard_index: Any) -> str:
    """The private index: it holds what `hoops/` makes, and nobody else does."""
    folder = tmp_path_factory.mktemp("packages")
    build_hoops(folder, tmp_path_factory.mktemp("source"))
    host = guard_index(folder, USER, PASSWORD)
    return f"http://{USER}:{quote(PASSWORD, safe='')}@{host}/simple/"


@pytest.fixture
def wheelhouse(tmp_path: Path, index: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("WHEELHOUSE_INDEX", index)
    project = make_project(tmp_path)
    shutil.copytree(
        RECIPE, project.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build", "*.lock")
    )
    return project


def run(project: Project, *arguments: str) -> dict[str, str]:
    """Run it; the outputs."""
    ended = project.coopery("run", *arguments)
    assert ended.exit_code == 0, ended.stderr
    return {name: project.read(f"build/{name}") for name in ("measures.json", "order.txt")}


def test_code_from_everywhere_under_local(wheelhouse: Project, traces: Any) -> None:
    made = run(wheelhouse)
    assert '"firkin"' in made["measures.json"] and "hogshead" in made["order.txt"]
    # 4 hoops: 2 pi (0.57 + 0.49) m and 4 overlaps of 0.04 m, and a tenth to spare
    (row,) = [line.split() for line in made["order.txt"].splitlines() if "barrel" in line]
    assert row[2] == "7.50"
    lock = wheelhouse.read("recipe.lock")
    assert "coopers-hoops" in lock and "tabulate" in lock
    assert "5 cached" in wheelhouse.coopery("run").stderr
    assert traces(PASSWORD, wheelhouse.root, wheelhouse.home) == []


def test_a_release_comes_from_the_index_and_not_from_the_tree_beside_it(
    wheelhouse: Project,
) -> None:
    before = run(wheelhouse)
    wheelhouse.write("hoops/src/hoops/__init__.py", "raise ImportError('not released')\n")
    assert run(wheelhouse, "--force") == before
    changed = wheelhouse.read("casks/src/casks/__init__.py").replace("1000 *", "2000 *")
    wheelhouse.write("casks/src/casks/__init__.py", changed)
    assert run(wheelhouse)["measures.json"] != before["measures.json"]


def test_the_same_under_docker_and_no_trace_of_the_password(
    wheelhouse: Project, engine: Any, sweep: Any, traces: Any, tmp_path: Path
) -> None:
    sweep(wheelhouse.home)
    contained = run(wheelhouse, "-r", "docker")
    record = wheelhouse.coopery("show", "--json").json
    (tag,) = {s["facts"]["image"] for s in record["steps"] if s["step"] == "image house"}
    with (tmp_path / "house.tar").open("wb") as file:
        for chunk in engine.get_image(tag):
            file.write(chunk)
    image = tmp_path / "image"
    shutil.unpack_archive(tmp_path / "house.tar", image)
    for layer in list(image.rglob("layer.tar")):
        with tarfile.open(layer) as archive:
            archive.extractall(layer.with_name("layer"), filter="tar")
    packed = wheelhouse.coopery("pack", "order", "-r", "docker", "-o", f"{tmp_path}/order.tar.gz")
    assert packed.exit_code == 0, packed.stderr
    shutil.unpack_archive(tmp_path / "order.tar.gz", tmp_path / "packed")
    told = tmp_path / "told"
    told.mkdir()
    (told / "inspect").write_text(repr(engine.inspect_image(tag)))
    (told / "history").write_text(repr(engine.history(tag)))
    assert list(image.rglob("hoops/__init__.py")) and list(tmp_path.rglob("packed/**/hoops"))
    roots = (wheelhouse.root, wheelhouse.home, image, tmp_path / "packed", told)
    assert traces(PASSWORD, *roots) == []
    assert run(wheelhouse, "--overwrite") == contained
