"""Fixtures for all tests: a recipe's folder, the installed command, an index, an engine."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import engines
import pytest
import registries
import searching

from coopery import masking
from coopery.testing import Project, fork_calls, make_project

from .own_engine import NoOwnEngine, OwnEngine, running

# The tests start thousands of processes. Where Python is told to keep no bytecode, as container
# images like to, each would compile all that it imports again: half of the time of a call.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests of one group share what no two may use at once: they must be kept to one worker."""
    if getattr(session.config.option, "loadgroup", False):
        torn = [
            item.nodeid
            for item in session.items
            if item.get_closest_marker("xdist_group") and "@" not in item.nodeid
        ]
        if torn:
            raise pytest.UsageError(f"this pytest-xdist ignores groups in this pytest: {torn[0]}")


GuardIndex = Callable[[Path, str, str], str]
HANDMADE = Path(__file__).parent / "docker" / "handmade.py"
"""A plugin that makes images by hand."""


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "start a Python for each call of the command, instead of forking one that has started"
    parser.addoption("--real-processes", action="store_true", help=told)


def pytest_configure(config: pytest.Config) -> None:
    fork_calls(not config.getoption("--real-processes"))


@pytest.fixture(autouse=True)
def nothing_confidential(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test in this process calls confidential concerns no other."""
    monkeypatch.setattr(masking, "_forms", set())
    monkeypatch.setattr(masking, "_known", None)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project with a home folder of its own."""
    return make_project(tmp_path)


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is room for one, else `tmp_path`.

    For tests that run thousands of tasks in their own process: waiting for the disk to confirm each
    write would be most of the time they take.
    """
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 1 << 30:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="coopery-test-", dir=memory) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def guard_index() -> Iterator[GuardIndex]:
    """Starts pypiservers on loopback over a folder, for one user and password: `host:port`."""
    with ExitStack() as stack:
        yield lambda *given: stack.enter_context(_serve(*given))


@pytest.fixture(scope="session")
def index_while() -> Callable[[Path, str, str], AbstractContextManager[str]]:
    """As `guard_index`, of a server that is there while a `with` lasts."""
    return _serve


@pytest.fixture(scope="session")
def traces() -> Callable[..., list[str]]:
    """See `searching.traces`."""
    return searching.traces


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 5 MB; tests are skipped where they may not mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no disk can be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def _serve(folder: Path, user: str, password: str) -> Iterator[str]:
    """A pypiserver over a folder while this lasts, for one user and password: `host:port`."""
    from pypiserver import app

    inner = app(roots=[folder], disable_fallback=True, password_file=".", authenticate=[])
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def outer(environ: Any, start: Any) -> Any:
        if environ.get("HTTP_AUTHORIZATION") != wanted:
            start("401 Unauthorized", [("WWW-Authenticate", "Basic realm=x")])
            return [b""]
        return inner(environ, start)

    with make_server("127.0.0.1", 0, outer, handler_class=_Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def sdk_engine() -> Any:
    """The SDK's client of the engine that the tests use; without one they are skipped.

    In CI (`CI=true`) that is a failure. The engine must have the image `python:3.11-slim`.
    """
    import docker
    from docker.errors import DockerException

    try:
        client = docker.APIClient(version="auto", **docker.utils.kwargs_from_env())
        client.inspect_image("python:3.11-slim")
    except DockerException as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no container engine with python:3.11-slim answers: {error}")
    return client


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registries.Registry]:
    """A registry on loopback that wants credentials; where none is installed, tests are skipped.

    In CI (`CI=true`) that is a failure.
    """
    with ExitStack() as stack:
        try:
            found = stack.enter_context(registries.serve(tmp_path_factory.mktemp("registry")))
        except FileNotFoundError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no registry is installed: {error}")
        yield found


@pytest.fixture(scope="session")
def podman() -> Iterator[str]:
    """The address of a Podman that has the image `small:1`; where it cannot run, tests are skipped.

    In CI (`CI=true`), as root, that is a failure.
    """
    import docker

    with TemporaryDirectory(ignore_cleanup_errors=True) as name, ExitStack() as stack:
        try:
            address = stack.enter_context(engines.podman(Path(name)))
        except engines.CannotRun as error:
            if os.environ.get("CI") == "true" and os.geteuid() == 0:
                raise
            pytest.skip(f"no Podman: {error}")
        client = docker.APIClient(address, version="auto")
        client.import_image_from_data(registries.small_image("podman\n"), repository="small:1")
        client.close()
        yield address


@pytest.fixture
def handmade(tmp_path: Path) -> Project:
    """A project with hand-made images; whoever builds them removes them."""
    project = make_project(tmp_path)
    project.plugin("handmade", HANDMADE.read_text("utf-8"))
    return project


@pytest.fixture
def classic(handmade: Project) -> None:
    """The project's images are made by the classic builder."""
    handmade.plugin("classic", HANDMADE.with_name("classic.py").read_text("utf-8"))


@pytest.fixture
def contained(handmade: Project, engine: Any) -> Iterator[Project]:
    """A project with hand-made images; what it leaves in the engine is removed afterwards."""
    yield handmade
    clear(engine, handmade.home)


@pytest.fixture(scope="session")
def engine(sdk_engine: Any) -> Any:
    """As `sdk_engine`, where a folder of tests has none of its own."""
    return sdk_engine


@pytest.fixture
def sweep(sdk_engine: Any) -> Iterator[Callable[[Path], None]]:
    """Takes home folders; what they leave in the engine is removed afterwards."""
    homes: list[Path] = []
    yield homes.append
    for home in homes:
        clear(sdk_engine, home)


def clear(engine: Any, home: Path) -> None:
    """Remove all that bears the label of a home folder."""
    from docker.errors import APIError

    from coopery_docker.notes import HOME, home_id

    label = {"label": [f"{HOME}={home_id(home)}"]}
    for container in engine.containers(all=True, filters=label):
        with suppress(APIError):  # it is going already
            engine.remove_container(container["Id"], v=True, force=True)
    for image in engine.images(filters=label):
        for name in image.get("RepoTags") or [image["Id"]]:
            with suppress(APIError):  # it went with another
                engine.remove_image(name if name != "<none>:<none>" else image["Id"], force=True)


@pytest.fixture(scope="session")
def own_engines(sdk_engine: Any) -> Iterator[Callable[..., OwnEngine]]:
    """Starts engines of the tests' own, with the base image; where none can be, tests skip."""
    with ExitStack() as stack:

        def start(**options: Any) -> OwnEngine:
            try:
                found = stack.enter_context(running(**options))
            except NoOwnEngine as error:
                if os.environ.get("CI") == "true" and os.geteuid() == 0:
                    raise
                pytest.skip(f"no engine of one's own: {error}")
            found.load(sdk_engine, "python:3.11-slim")
            return found

        yield start


@pytest.fixture(scope="session")
def _kept_engine(own_engines: Callable[..., OwnEngine]) -> OwnEngine:
    return own_engines()


@pytest.fixture
def own_engine(_kept_engine: OwnEngine, monkeypatch: pytest.MonkeyPatch) -> OwnEngine:
    """An engine that a test may kill, running, and the one that coopery finds.

    It is the same for all tests of a worker, and has no way to any network.
    """
    _kept_engine.start()
    monkeypatch.setenv("DOCKER_HOST", _kept_engine.address)
    return _kept_engine


@pytest.fixture
def alone(handmade: Project, own_engine: OwnEngine) -> Iterator[Project]:
    """A project with hand-made images in an engine of the tests' own."""
    yield handmade
    own_engine.start()
    clear(own_engine.client, handmade.home)
