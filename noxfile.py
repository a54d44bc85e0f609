"""Everything that must hold before a change is done: `nox` runs it all, `nox -s NAME` one part."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
JUNIT = ROOT / "build" / "tests.xml"
PLUGINS = set(PYPROJECT["project"]["entry-points"]["coopery"])
SOURCES = ("engine", "plugins", "recipes", "tests", "benchmarks", "docs/generate.py", "noxfile.py")

nox.needs_version = ">=2025.2"
# Not uv, which reads no pip.conf: here the index that pip is configured with must do.
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "contracts", "tests", "package", "docs"]


def tools(*names: str) -> list[str]:
    """These tools' requirements, as the dependency group `dev` has them; all without names."""
    lines: list[str] = PYPROJECT["dependency-groups"]["dev"]
    found = [line for line in lines if not names or line.startswith(tuple(f"{n}>" for n in names))]
    if len(found) < len(names):
        raise ValueError(f"the group dev lacks one of {names}")
    return found


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format."""
    session.install(*tools("ruff"))
    session.run("ruff", "check", *SOURCES)
    session.run("ruff", "format", "--check", *SOURCES)


@nox.session
def types(session: nox.Session) -> None:
    """Strict types, everywhere."""
    session.install("-e", ".", *tools(), "./recipes/penguins", "matplotlib>=3.8,<4")
    examples = ("penguins", "wheelhouse/hoops", "wheelhouse/casks")
    env = {"MYPYPATH": ":".join(f"recipes/{example}/src" for example in examples)}
    session.run("mypy", *SOURCES, env=env)


@nox.session
def contracts(session: nox.Session) -> None:
    """Who may import whom."""
    session.install("-e", ".", *tools("import-linter"))
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests; `nox -s tests -- ARGUMENTS` hands arguments to pytest."""
    session.install("-e", ".", *tools())
    session.run(
        "pytest",
        *("-n", "2", "--dist", "loadgroup", f"--junit-xml={JUNIT}"),
        "--ignore=tests/test_docs.py",  # the session docs runs it
        *session.posargs,
    )


@nox.session
def package(session: nox.Session) -> None:
    """The wheel and the sdist, and what they are like once installed."""
    session.install(*tools("build"))
    folder = Path(session.create_tmp()).absolute()
    shutil.rmtree(folder)
    folder.mkdir()
    session.run("python", "-m", "build", "--outdir", str(folder / "dist"), ".")
    (wheel,) = (folder / "dist").glob("*.whl")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    for name, archive in (("wheel", wheel), ("sdist", sdist)):
        session.run("python", "-m", "venv", str(folder / name))
        bin_ = folder / name / "bin"
        session.run(str(bin_ / "pip"), "install", "--quiet", str(archive), external=True)
        check_plugins(
            session, bin_ / "coopery", set(PYPROJECT["project"]["entry-points"]["coopery"])
        )
    run_installed(session, folder, folder / "wheel" / "bin" / "coopery")
    outside = ROOT / "tests" / "thirdparty"
    if outside.is_dir():
        entry_points = tomllib.loads((outside / "pyproject.toml").read_text("utf-8"))["project"][
            "entry-points"
        ]["coopery"]
        session.run(
            str(folder / "wheel" / "bin" / "pip"), "install", "--quiet", str(outside), external=True
        )
        check_plugins(session, folder / "wheel" / "bin" / "coopery", {*PLUGINS, *entry_points})


def check_plugins(session: nox.Session, coopery: Path, expected: set[str]) -> None:
    """The installed command must find exactly these plugins."""
    answer = session.run(str(coopery), "plugins", "--json", silent=True, external=True)
    listed = json.loads(str(answer))
    found = {plugin["name"] for plugin in listed}
    if found != expected:
        session.error(f"{coopery} lists {sorted(found)}, expected {sorted(expected)}")
    session.log(f"{coopery} lists {len(found)} plugins")


def run_installed(session: nox.Session, folder: Path, coopery: Path) -> None:
    """The installed wheel must run the smallest recipe, away from this checkout."""
    shutil.copytree(ROOT / "recipes" / "hello", folder / "hello", ignore=_leftovers)
    env = {**os.environ, "COOPERY_HOME": str(folder / "home")}
    with session.chdir(folder / "hello"):
        session.run(str(coopery), "run", env=env, external=True)
    if (folder / "hello" / "build" / "greeting.txt").read_text("utf-8") != "Hello, world!\n":
        session.error("the installed wheel did not run recipes/hello")


_leftovers = shutil.ignore_patterns("build", "*.lock")


@nox.session
def docs(session: nox.Session) -> None:
    """The reference is up to date, every link works; `-- --write` renews the reference."""
    session.install("-e", ".", *tools("pytest", "pytest-xdist", "jsonschema"))
    if "--write" in session.posargs:
        session.run("python", "docs/generate.py", "--write")
        return
    session.run("python", "docs/generate.py")
    session.run("pytest", "-n", "2", "tests/test_docs.py")


@nox.session(default=False)
def crashes(session: nox.Session) -> None:
    """A hundred kills, twenty of engines, and a hundred edits; every day there are a few."""
    session.install("-e", ".", *tools())
    session.run(
        *("pytest", "tests/system/test_crashes.py", "tests/docker/test_crashes.py"),
        *("tests/docker/test_engine_crashes.py", "tests/images/test_edits.py", *session.posargs),
        env={"COOPERY_CRASHES": "100", "COOPERY_EDITS": "100"},
    )


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Ten thousand documents changed at random; every day there are a few hundred."""
    session.install("-e", ".", *tools())
    env = {"COOPERY_MUTATIONS": "10000"}
    session.run("pytest", "tests/taskapi/test_mutations.py", "--timeout=3000", env=env)


@nox.session(default=False)
def engines(session: nox.Session) -> None:
    """All that is tested in Podman; of it the everyday tests hold a part."""
    session.install("-e", ".", *tools())
    env = {"COOPERY_ENGINES": "1"}
    session.run("pytest", "tests/docker/test_podman.py", *session.posargs, env=env)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure against the floor; `-- --help` tells the sizes one can choose."""
    session.install(".")
    session.run("python", "benchmarks/scaling.py", *session.posargs)


@nox.session(default=False)
def bench_images(session: nox.Session) -> None:
    """Measure images and containers against building and running them by hand."""
    session.install(".[docker]")
    session.run("python", "benchmarks/images.py", *session.posargs)
