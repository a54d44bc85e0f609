"""An engine that is lost in the middle, and shells: with a connection that can be cut."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coopery.errors import StepError
from coopery.images import Base
from coopery.secrets import no_secrets
from coopery.testing import Project
from coopery_docker.client import Engine
from coopery_docker.images import _locked
from coopery_docker.notes import HOME, home_id, runs_noted
from coopery_docker.targets import Target

HEAD = '[defaults]\nimage = "i"\n[image.i]\n'
SECONDS = 60


class Wire:
    """A socket that is passed on to the engine's, until it is cut, or hangs from when `hang_at`
    passes in either direction.
    """

    def __init__(self, path: Path, engine: str) -> None:
        self.path, self._engine = path, engine
        self.hang_at = b""
        self.hangs = threading.Event()
        self._ends: list[socket.socket] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._engine)
            self._ends += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def cut(self) -> None:
        """As when the engine dies: nothing is answered any more, and nobody listens."""
        self.path.unlink(missing_ok=True)
        self._server.close()
        for end in self._ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has ended

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if self.hang_at and self.hang_at in data:
                    self.hangs.set()
                if self.hangs.is_set():
                    threading.Event().wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture
def wire(engine: Any) -> Iterator[Wire]:
    """A way to the engine that can be cut."""
    if (os.environ.get("DOCKER_HOST") or "unix://").partition("://")[0] != "unix":
        pytest.skip("the engine has no socket of this machine")
    path = (os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock").removeprefix("unix://")
    with tempfile.TemporaryDirectory() as folder:
        made = Wire(Path(folder) / "s", path)
        yield made
        made.cut()


def left(engine: Any, project: Project) -> list[str]:
    label = f"{HOME}={home_id(project.home)}"
    return [c["Id"] for c in engine.containers(all=True, filters={"label": label})]


def wait_for_log(project: Project, process: subprocess.Popen[str], word: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not any(word in p.read_text() for p in project.home.glob("runs/*/logs/*.log")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)


def test_an_engine_lost_while_a_task_runs(contained: Project, engine: Any, wire: Wire) -> None:
    """That is told, nothing more is started, and the next run goes on: what was left is removed."""
    tasks = "[task.a]\nmatrix.n = [1, 2, 3]\ncommand = 'echo begun; sleep 300'\n"
    contained.write("recipe.toml", HEAD + tasks)
    env = {"DOCKER_HOST": f"unix://{wire.path}"}
    process = contained.start("run", "-r", "docker", "-j", "1", env=env)
    wait_for_log(contained, process, "begun")
    wire.cut()
    _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 3 and told.count("[engine-lost]") == 1, told
    assert "Traceback" not in told
    assert "1 failed, 2 cancelled" in told
    assert len(left(engine, contained)) == 1 and runs_noted(contained.home)
    contained.write("recipe.toml", HEAD + "[task.a]\ncommand = 'true'\n")
    contained.run("-r", "docker")
    assert left(engine, contained) == [] and runs_noted(contained.home) == []


def test_an_engine_lost_while_an_image_is_built(contained: Project, wire: Wire) -> None:
    contained.write("recipe.toml", HEAD + "[task.a]\ncommand = 'true'\n")
    env = {
        "DOCKER_HOST": f"unix://{wire.path}",
        "HANDMADE_RUN": f"echo begun; sleep 300; : {time.time()}",
    }
    process = contained.start("run", "-r", "docker", env=env)
    wait_for_log(contained, process, "sleep 300")
    wire.cut()
    _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 3 and "[engine-lost]" in told, told
    contained.run("-r", "docker")


HASTY = """
from coopery_docker import leaving

leaving.ASKED, leaving.FORCED = 2.0, 0.5
"""
LOCKED = """
from coopery.hooks import hookimpl
from coopery.images import Base


@hookimpl(tryfirst=True)
def inspect_base(reference):
    return Base(reference=reference, id={id!r}, platform="linux/amd64", python="3.11.2")
"""
"""The base as a lock has it: no container is started to look into it."""


@pytest.mark.parametrize(
    ("hang_at", "signals", "locked"),
    [
        (b"/start", 1, False),
        (b"/start", 1, True),
        (b"from the task", 2, True),
        (b"/build?", 2, True),
        (b"/info", 2, True),
    ],
)
def test_a_run_ends_though_the_engine_hangs(
    contained: Project, engine: Any, wire: Wire, hang_at: bytes, signals: int, locked: bool
) -> None:
    """When it is told to; what is left then, the next run removes."""
    contained.plugin("hasty", HASTY)
    if locked:
        base = engine.inspect_image("python:3.11-slim")["Id"]
        contained.plugin("locked", LOCKED.format(id=base))
    command = "echo from the' 'task; sleep 300"
    contained.write("recipe.toml", HEAD + f'[task.a]\ncommand = "{command}"\n')
    wire.hang_at = hang_at
    process = contained.start("run", "-r", "docker", env={"DOCKER_HOST": f"unix://{wire.path}"})
    assert wire.hangs.wait(SECONDS) and process.poll() is None
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in told, told
    containers = left(engine, contained)
    assert len(containers) == (hang_at in (b"/start", b"from the task"))
    if containers:
        assert runs_noted(contained.home)
        contained.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
        contained.run()
        assert left(engine, contained) == [] and runs_noted(contained.home) == []


@pytest.mark.parametrize("talks", [True, False])
def test_a_pull_ends_when_the_run_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, talks: bool
) -> None:
    from docker.errors import NotFound

    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    cancelled, ended = threading.Event(), threading.Event()

    class Api:
        api_version = "1.41"

        def inspect_image(self, reference: str) -> None:
            raise NotFound(reference, SimpleNamespace(status_code=404))

        def pull(self, *given: Any, **more: Any) -> Iterator[dict[str, Any]]:
            cancelled.set()
            try:
                for _ in range(500):
                    if not talks:
                        ended.wait(5)
                        return
                    yield {"id": "layer", "status": "Downloading"}
                    time.sleep(0.01)
            finally:
                ended.set()

    base = Base(reference="far/away:1", id="sha256:1", platform="linux/amd64", digest="sha256:2")
    work: Any = SimpleNamespace(base=base, login=None)
    workspace: Any = SimpleNamespace(cancelled=cancelled, secrets=None)
    target = Target(address="unix:///nowhere", source="a test", options={})
    with pytest.raises(StepError) as caught:
        _locked(Engine(Api(), target, {}), work, workspace, lambda _: None)
    assert caught.value.problems[0].slug == "cancelled"
    assert ended.wait(5 if talks else 0) is talks
    ended.set()


def test_a_lock_is_not_waited_for_where_the_engine_hangs(contained: Project, wire: Wire) -> None:
    contained.plugin("hasty", "from coopery_docker import leaving\n\nleaving.ANSWER = 1.0\n")
    contained.write("recipe.toml", HEAD + '[task.a]\ncommand = "true"\n')
    wire.hang_at = b"/images/"
    env = {"DOCKER_HOST": f"unix://{wire.path}"}
    answer = contained.coopery("lock", "-r", "docker", env=env)
    assert answer.exit_code == 3
    assert "said nothing for 1 s" in answer.told("engine-lost")


@pytest.mark.parametrize("talks", [True, False])
def test_a_push_ends_when_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, talks: bool
) -> None:
    """Where the engine still talks, the name that was pushed is forgotten; else it is left."""
    import _thread

    from coopery_docker import leaving, pushing

    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(leaving, "FORCED", 5.0 if talks else 0.3)
    (tmp_path / "image.json").write_text('{"tag": "coopery:x", "id": "sha256:1"}')
    forgotten, ended = threading.Event(), threading.Event()

    class Api:
        api_version = "1.41"

        def tag(self, *given: Any, **more: Any) -> None:
            pass

        def push(self, *given: Any, **more: Any) -> Iterator[dict[str, Any]]:
            time.sleep(0.2)
            _thread.interrupt_main()
            while not ended.wait(0.02 if talks else 20):
                yield {"id": "layer", "status": "Pushing"}

        def remove_image(self, *given: Any, **more: Any) -> None:
            forgotten.set()

    target = Target(address="unix:///nowhere", source="a test", options={})
    engine = Engine(Api(), target, {})
    monkeypatch.setattr(pushing, "connect", lambda: engine)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pushing.push(tmp_path, "localhost:1/x:y", None, no_secrets(), lambda text: None)
    assert forgotten.is_set() is talks and time.monotonic() - begun < 5
    ended.set()


def test_a_shell_in_a_tasks_place(contained: Project, engine: Any) -> None:
    contained.write("in.txt", "what is read\n")
    text = "[task.a]\ncommand = 'true'\ninputs.i = 'in.txt'\nenv.MODE = 'fast'\n"
    contained.write("recipe.toml", HEAD + text)
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (24, 300))
    process = subprocess.Popen(
        [sys.executable, "-m", "coopery", "run", "-r", "docker", "--shell", "a"],
        cwd=contained.root,
        env={**contained.environment(), "TERM": "dumb"},
        preexec_fn=lambda: os.login_tty(there),
    )
    os.close(there)
    seen = ""

    def until(marker: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + SECONDS
        while marker not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([here], [], [], 0.1)[0]:
                seen += os.read(here, 65536).decode("utf-8", "replace")

    until("(a) $ ")
    assert "/coopery/inputs/i/in.txt" in seen
    os.write(here, b"cat $COOPERY_INPUT_I; echo $MODE; pwd; exit 7\r")
    until("what is read\r\nfast\r\n/work")
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if select.select([here], [], [], 0.05)[0]:
            try:
                os.read(here, 65536)
            except OSError:
                break
    assert process.wait(SECONDS) == 7
    os.close(here)
    assert left(engine, contained) == []
