"""Release mode: the published wheel of a project, from an index that wants credentials."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

import coopery_lock
from coopery.dependencies import Requirement
from coopery.errors import Place
from coopery.options import LockPolicy
from coopery.testing import Answer, Project

USER, PASSWORD = "cooper", "s3cr+t p@ss"
SECRETS = [
    PASSWORD.encode(),
    quote(PASSWORD, safe="").encode(),
    base64.b64encode(f"{USER}:{PASSWORD}".encode()),
]

# A backend without requirements, which makes a wheel of the one module.
BACKEND = """\
import base64, hashlib, pathlib, zipfile
def build_wheel(folder, settings=None, metadata=None):
    version = pathlib.Path("version.txt").read_text().strip()
    info = f"iris_kit-{version}.dist-info"
    files = {
        "iris_kit.py": pathlib.Path("iris_kit.py").read_text(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: iris-kit\\nVersion: {version}\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    lines = [f"{info}/RECORD,,"]
    name = f"iris_kit-{version}-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as archive:
        for file, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            lines.append(f"{file},sha256={digest.decode().rstrip('=')},{len(text)}")
            archive.writestr(file, text)
        archive.writestr(f"{info}/RECORD", "\\n".join(lines))
    return name
"""


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


class Shop:
    """A project `kit` beside a recipe, and the index where its version 1.0 is published."""

    def __init__(
        self, project: Project, index: Path, port: int, wheel: Callable[..., Path]
    ) -> None:
        self.project, self.index, self.host = project, index, f"127.0.0.1:{port}"
        self.login = f"{USER}:{quote(PASSWORD, safe='')}@"
        self.asked: list[str] = []
        self.closed = False
        wheel(index, "iris-kit", "1.0", more={"iris_kit.py": "WHERE = 'published'\n"})
        self.tree("1.0")
        self.recipe('{ path = "kit", mode = "release" }')

    def tree(self, version: str) -> None:
        write = self.project.write
        write("kit/own.py", BACKEND)
        write("kit/iris_kit.py", "WHERE = 'tree'\n")
        write("kit/version.txt", version)
        write(
            "kit/pyproject.toml",
            f"""
            [build-system]
            requires = []
            build-backend = "own"
            backend-path = ["."]
            [project]
            name = "iris-kit"
            version = "{version}"
            [project.optional-dependencies]
            more = ["alpha<2"]
            """,
        )

    def recipe(self, *items: str, more: str = "") -> None:
        self.project.write(
            "recipe.toml",
            f"""
            [image.tools]
            projects = [{", ".join(items)}]
            {more}
            [task.where]
            image = "tools"
            command = "python -c 'import iris_kit; print(iris_kit.WHERE)' > {{outputs.said}}"
            outputs.said = "said.txt"
            """,
        )

    def __call__(
        self, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None
    ) -> Answer:
        url = f"http://{self.login}{self.host}/simple/"
        answer = self.project.coopery(*arguments, env={"PIP_INDEX_URL": url, **(env or {})})
        assert answer.exit_code == code, answer.stderr
        for secret in SECRETS:
            assert secret.decode() not in answer.stdout + answer.stderr
        return answer

    @property
    def said(self) -> str:
        return self.project.read("said.txt").strip()

    def step(self, record: Any) -> Any:
        (found,) = (s for s in record["steps"] if s["step"].startswith("wheel"))
        return found


@pytest.fixture
def shop(
    project: Project, tmp_path: Path, wheel: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    from pypiserver import app

    index = tmp_path / "published"
    wheel(index, "alpha", "1.0")
    wheel(index, "alpha", "2.0")
    inner = app(roots=[index], disable_fallback=True, password_file=".", authenticate=[])
    wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def outer(environ: Any, start: Any) -> Any:
        found.asked.append(environ["PATH_INFO"])
        if found.closed:
            start("503 Service Unavailable", [])
            return [b""]
        if environ.get("HTTP_AUTHORIZATION") != wanted:
            start("401 Unauthorized", [("WWW-Authenticate", "Basic realm=x")])
            return [b""]
        return inner(environ, start)

    with make_server("127.0.0.1", 0, outer, handler_class=Quiet) as server:
        found = Shop(project, index, server.server_port, wheel)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield found
        server.shutdown()


def test_the_published_wheel_is_fetched_once_and_leaves_no_credentials(shop: Shop) -> None:
    record = shop("run", "--json").json
    assert shop.said == "published"
    step = shop.step(record)
    assert (step["step"], step["kind"]) == ("wheel iris-kit (release)", "wheel-release")
    assert step["notes"] == ["release"]
    assert (step["facts"]["mode"], step["facts"]["version"]) == ("release", "1.0")
    lock = shop.project.read("recipe.lock")
    assert "'iris-kit==1.0'" in lock and "name = 'iris-kit'" in lock
    files = [f for root in (shop.project.root, shop.project.home) for f in root.rglob("*")]
    assert len(files) > 10
    for file in files:
        for secret in SECRETS:
            assert not file.is_file() or secret not in file.read_bytes(), file
    shop.asked.clear()
    shop.closed = True
    assert "3 cached" in shop("run").stderr
    assert shop.asked == []


def test_its_contents_are_those_of_the_published_file(
    shop: Shop, tmp_path: Path, wheel: Any
) -> None:
    from coopery_wheels.archives import repack

    # Files that an installation moves, changes or adds: none of that may be in the wheel.
    more = {
        "iris_kit.py": "WHERE = 'published'\n",
        "iris_kit-1.0.data/scripts/run": "#!python\nprint(1)\n",
        "iris_kit-1.0.data/data/share/kit.txt": "data",
        "iris_kit-1.0.dist-info/entry_points.txt": "[console_scripts]\nkit = iris_kit:x\n",
    }
    published = wheel(shop.index, "iris-kit", "1.0", more=more)
    shop("run")
    kept = [f for f in shop.project.home.rglob("iris_kit-1.0-*.whl") if f.is_file()]
    (ours,) = {f.read_bytes() for f in kept}
    assert ours == repack(published, tmp_path / "again").read_bytes()


def test_what_is_brought_as_a_wheel_is_not_installed_with_the_others(bench: Any) -> None:
    image = bench.image("beta")
    (only,) = bench.sets()
    released = Requirement(line="alpha==1.0", place=Place(), bundled=True)
    found = replace(only, requirements=(*only.requirements, released))
    lock = bench.resolve([found], LockPolicy.RENEW)
    assert [pin.name for pin in lock.pins["a"]] == ["alpha", "beta"]
    (layer,) = coopery_lock.add_layers(bench.recipe, image, lock)
    assert [pin.name for pin in layer.pins] == ["beta"]


def test_editable_and_release_side_by_side(shop: Shop) -> None:
    shop.recipe('{ path = "kit", mode = "release" }')
    recipe = shop.project.read("recipe.toml")
    other = recipe.replace("tools", "own").replace("where]", "here]").replace("said.txt", "own.txt")
    shop.project.write("recipe.toml", recipe + other.replace('"release"', '"editable"'))
    record = shop("run", "--json").json
    assert (shop.said, shop.project.read("own.txt").strip()) == ("published", "tree")
    modes = {s["step"]: s["facts"]["mode"] for s in record["steps"] if "wheel" in s["step"]}
    assert modes == {"wheel iris-kit": "editable", "wheel iris-kit (release)": "release"}


def test_extras_of_a_released_project_are_pinned_with_it(shop: Shop, wheel: Any) -> None:
    (shop.index / "iris_kit-1.0-py3-none-any.whl").unlink()
    wheel(
        shop.index,
        "iris-kit",
        "1.0",
        'alpha<2; extra == "more"',
        more={"iris_kit.py": "WHERE = 'published'\n"},
    )
    shop.recipe('{ path = "kit", mode = "release", extras = ["more"] }')
    images = shop("lock", "--json").json["images"]
    assert [(p["name"], p["version"]) for p in images["tools"]] == [
        ("alpha", "1.0"),
        ("iris-kit", "1.0"),
    ]
    shop("run")
    assert shop.said == "published"


@pytest.mark.parametrize("by", ["flag", "variable", "pyproject"])
def test_a_mode_for_a_whole_run(shop: Shop, by: str) -> None:
    shop.recipe('"kit"')
    shop("run")
    assert shop.said == "tree"
    if by == "pyproject":
        shop.project.write("pyproject.toml", '[tool.coopery]\nwheels = "release"\n')
    flags = ["--wheels", "release"] if by == "flag" else []
    env = {"COOPERY_WHEELS": "release"} if by == "variable" else {}
    record = shop("run", "--json", *flags, env=env).json
    assert shop.said == "published"
    assert shop.step(record)["facts"]["mode"] == "release"
    if by == "variable":
        shop("run", env={"COOPERY_WHEELS": "editable"})
        assert shop.said == "tree"


def test_a_mode_for_one_run_leaves_the_recipes_pins(shop: Shop) -> None:
    """Both are in the lock: neither run locks anew, on whatever machine, until the recipe moves."""
    shop.recipe('{ path = "kit", mode = "release", extras = ["more"] }')
    shop("run")
    first = shop.project.read("recipe.lock")
    assert "iris-kit[more]==1.0" in first and "variant" not in first
    shop("run", "--wheels", "editable")
    assert shop.said == "tree"
    both = shop.project.read("recipe.lock")
    assert "variant = 'editable'" in both and both.count("[[set]]") == 2
    asked = len(shop.asked)
    for flags in ([], ["--wheels", "editable"], ["--locked"], ["--locked", "--wheels", "editable"]):
        assert "lock " not in shop("run", *flags).stderr
        assert shop.project.read("recipe.lock") == both
    assert shop.asked[asked:] == []
    assert shop.said == "tree"
    # A recipe that now says so itself has the one entry, which is its own.
    shop.recipe('{ path = "kit", extras = ["more"] }')
    assert "locked" not in shop("run").stderr
    assert "variant" not in shop.project.read("recipe.lock")
    shop.recipe('{ path = "kit", mode = "release", extras = ["more"] }')
    shop("run")
    shop("run", "--wheels", "editable")
    shop("lock", "--upgrade")
    assert shop.project.read("recipe.lock") == first


def test_a_mode_that_there_is_not(shop: Shop) -> None:
    answer = shop("run", code=2, env={"COOPERY_WHEELS": "released"})
    assert "expected one of release, editable" in answer.told("bad-option")
    shop.recipe('{ path = "kit", mode = "released" }')
    assert "release" in shop("run", code=2).stderr


def test_why_says_which_mode_was_used(shop: Shop) -> None:
    shop.recipe('"kit"')
    shop("run")
    shop.recipe('{ path = "kit", mode = "release" }')
    assert "where: depends on wheel iris-kit (release)" in shop("why", "where").stdout
    shop("run")
    told = "wheel iris-kit changed: from wheel iris-kit to wheel iris-kit (release)"
    assert told in shop("why", "where").stdout


def test_another_version_is_told_as_such(shop: Shop, wheel: Any) -> None:
    shop("run")
    wheel(shop.index, "iris-kit", "1.1", more={"iris_kit.py": "WHERE = 'newer'\n"})
    shop.tree("1.1")
    assert "package iris-kit changed: 1.0 -> 1.1" in shop("why", "where").stdout
    shop("run")
    assert shop.said == "newer"


def test_an_unpublished_version_names_package_version_and_index(shop: Shop) -> None:
    shop.tree("9.9")
    told = f"recipe.toml:2 (image.tools.projects[0]): iris-kit 9.9 is not on http://{shop.host}/simple/"
    for _ in ("another version is", "none is"):
        answer = shop("run", code=2)
        assert told in answer.stderr
        assert 'mode = "editable"' in answer.told("release-unpublished")
        (shop.index / "iris_kit-1.0-py3-none-any.whl").unlink(missing_ok=True)


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_a_dirty_tree_is_refused(shop: Shop) -> None:
    root = shop.project.root
    git(root, "init", "--quiet")
    git(root, "add", "kit")
    git(root, "commit", "--quiet", "-m", "x")
    shop("run")  # the recipe, its lock and outputs are no part of the project
    shop.project.write("kit/iris_kit.py", "WHERE = 'edited'\n")
    told = shop("run", code=2).told("release-dirty")
    assert "iris-kit 1.0 has changes that are not committed: iris_kit.py" in told
    assert 'mode = "editable"' in told
    git(root, "checkout", "kit")
    (root / "kit/version.txt").unlink()
    shop.project.write("kit/new.py", "")
    assert "new.py, version.txt" in shop("run", code=2).told("release-dirty")
    shop("run", "--wheels", "editable", code=1)  # which has no version.txt to build with
    git(root, "add", "kit")
    git(root, "commit", "--quiet", "-m", "y")
    assert "cached" in shop("run").stderr


def test_a_project_that_is_the_recipes_folder(shop: Shop) -> None:
    root = shop.project.root
    for file in (root / "kit").iterdir():
        file.rename(root / file.name)
    shop.recipe('{ path = ".", mode = "release" }')
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "x")
    shop("run")
    shop.recipe('{ path = ".", mode = "release" }', more='description = "edited"')
    shop("run")
    assert shop.said == "published"


def test_a_local_version_is_no_published_one(shop: Shop) -> None:
    shop.tree("1.0+dirty")
    assert "1.0+dirty, which no index takes" in shop("run", code=2).told("release-dirty")


def test_refused_credentials_name_package_version_and_host(shop: Shop) -> None:
    shop.login = "cooper:wr0ngone@"
    answer = shop("run", code=3)
    told = answer.told("index-credentials")
    assert shop.host in told and "iris-kit 1.0" in told
    assert "wr0ngone" not in answer.stderr


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("login", ["", "cooper:wr0ngone@"])
def test_refused_credentials_name_the_host_when_all_is_locked(
    shop: Shop, tmp_path: Path, login: str, extra: bool
) -> None:
    shop("lock")
    shop.login = login
    (tmp_path / "empty").mkdir()
    url = f"http://{login}{shop.host}/simple/"
    none = (tmp_path / "empty").as_uri()
    env = {"PIP_INDEX_URL": none, "PIP_EXTRA_INDEX_URL": url} if extra else {}
    answer = shop("run", code=3, env=env)
    told = answer.told("index-credentials")
    assert shop.host in told and "iris-kit" in answer.stderr
    assert "wr0ngone" not in answer.stderr
    for log in shop.project.home.rglob("*"):
        assert not log.is_file() or b"wr0ngone" not in log.read_bytes(), log


@pytest.mark.parametrize("login", ["", "cooper:wr0ngone@"])
def test_refused_credentials_for_an_environments_packages(
    shop: Shop, tmp_path: Path, login: str
) -> None:
    shop.recipe(more='packages = ["alpha"]')
    shop("lock")
    (tmp_path / "empty").mkdir()
    env = {
        "PIP_INDEX_URL": (tmp_path / "empty").as_uri(),
        "PIP_EXTRA_INDEX_URL": f"http://{login}{shop.host}/simple/",
    }
    answer = shop("run", code=3, env=env)
    assert shop.host in answer.told("index-credentials")
    assert "wr0ngone" not in answer.stderr


def test_a_full_disk_is_told_when_an_environment_is_made(
    shop: Shop, small_disk: Path, wheel: Any
) -> None:
    big = {"big.py": f"X = {secrets.token_hex(4 << 20)!r}\n"}
    wheel(shop.index, "big", "1.0", more=big)
    shop.recipe(more='packages = ["big"]')
    told = shop("run", code=3, env={"COOPERY_HOME": str(small_disk)}).told("disk-full")
    assert "the disk is full" in told or "no space is left" in told


def test_a_wheel_for_the_base_alone_is_refused_here(shop: Shop, wheel: Any) -> None:
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    tag = f"{python}-{python}-musllinux_1_2_riscv64"
    file = wheel(shop.project.root / "own", "given", "1.0", tag=tag)
    shop.recipe(more=f'base = "python:alpine"\nwheels = ["own/{file.name}"]')
    told = shop("run", "-r", "local", code=1).told("wheel-tags")
    assert f"{file.name} does not fit this machine" in told


def test_a_wheel_that_cannot_be_fetched_names_package_version_and_index(shop: Shop) -> None:
    shop("lock")
    shop.closed = True
    answer = shop("run", code=1, env={"UV_HTTP_RETRIES": "0"})
    assert f"iris-kit 1.0 cannot be had from http://{shop.host}/simple/" in answer.stderr
    assert "release-failed" in answer.stderr
    assert 'mode = "editable"' in answer.stderr
    shop.closed = False
    shop("run")
    assert shop.said == "published"


def test_a_file_with_another_hash_is_not_taken(shop: Shop, wheel: Any) -> None:
    shop("lock")
    wheel(shop.index, "iris-kit", "1.0", more={"iris_kit.py": "WHERE = 'evil'\n"})
    answer = shop("run", code=1)
    assert "release-failed" in answer.stderr
    assert "ash" in answer.stderr  # uv's own words for it
    assert not (shop.project.root / "said.txt").exists()


def test_a_release_without_a_wheel_is_refused(shop: Shop, sdist: Any) -> None:
    (shop.index / "iris_kit-1.0-py3-none-any.whl").unlink()
    sdist(shop.index, "iris-kit", "1.0")
    answer = shop("run", code=2)
    assert answer.told("release-unpublished")
    assert "iris-kit 1.0 is not on" in answer.stderr and "wheels" in answer.stderr


def install(shop: Shop, version: str, root: Path | None) -> None:
    """The metadata that an installer leaves of `iris-kit`."""
    info = shop.project.site / f"iris_kit-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: iris-kit\nVersion: {version}\n")
    if root is not None:
        told = {"url": root.as_uri(), "dir_info": {"editable": True}}
        (info / "direct_url.json").write_text(json.dumps(told))


@pytest.mark.parametrize(("mode", "said"), [("editable", "tree"), ("release", "published")])
def test_a_project_by_the_name_of_what_is_installed_editable(
    shop: Shop, tmp_path: Path, mode: str, said: str
) -> None:
    elsewhere = tmp_path / "else where"
    (shop.project.root / "kit").rename(elsewhere)
    install(shop, "1.0", elsewhere)
    shop.recipe(f'{{ path = "iris-kit", mode = "{mode}" }}')
    shop("run")
    assert shop.said == said
    if mode == "editable":
        (elsewhere / "iris_kit.py").write_text("WHERE = 'edited'\n")
        shop("run")
        assert shop.said == "edited"


def test_a_project_by_the_name_of_what_is_installed_from_an_index(shop: Shop) -> None:
    install(shop, "1.0", None)
    shop.recipe('"iris-kit"')
    told = shop("run", code=2).told("not-a-project")
    assert "iris-kit 1.0 is installed here, but not editable" in told
    assert 'mode = "release"' in told
    shop.recipe('{ path = "iris-kit", mode = "release" }')
    shop("run")
    assert shop.said == "published"
    assert "not editable" in shop("run", "--wheels", "editable", code=2).told("not-a-project")


def test_a_name_that_is_neither_there_nor_installed(shop: Shop) -> None:
    shop.recipe('"iris-kat"')
    assert "there is no" in shop("run", code=2).told("missing-path")
