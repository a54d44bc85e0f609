"""The way to the engine: which one is meant, and what is said when none answers."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project

RECIPE = '[defaults]\nimage = "i"\n[image.i]\n[task.a]\ncommand = "true"\n'
PONG = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK"


@pytest.fixture
def short() -> Iterator[Path]:
    """A path that is short enough for a socket's."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name) / "s"


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """A server that gives everybody the same answer."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield
        server.shutdown(socket.SHUT_RDWR)


def handmade(project: Project) -> Project:
    project.plugin("handmade", Path(__file__).with_name("handmade.py").read_text("utf-8"))
    project.write("recipe.toml", RECIPE)
    return project


def no_engine(project: Project, **env: str) -> str:
    """What a run says of the engine that does not answer."""
    answer = handmade(project).coopery("run", "-r", "docker", env=env)
    assert answer.exit_code == 3 and answer.slugs == ("no-engine",), answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.told("no-engine")


def doctor(project: Project, **env: str) -> dict[str, Any]:
    """What doctor finds of the engine."""
    answer = project.coopery("doctor", "--json", env={"PIP_NO_INDEX": "1", **env})
    (found,) = (f for f in answer.json["findings"] if f["subject"] == "engine")
    return dict(found)


def test_no_engine_names_what_was_tried_and_what_to_do(project: Project) -> None:
    told = no_engine(project, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert "unix:///nowhere/docker.sock (DOCKER_HOST)" in told and "No such file" in told
    assert "start" in told and "-r local" in told


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:9", "http://ada:geheim@127.0.0.1:9", "bogus://x"]
)
def test_addresses_of_all_kinds(project: Project, address: str) -> None:
    told = no_engine(project, DOCKER_HOST=address)
    assert "geheim" not in told


def test_what_is_no_engine(project: Project, short: Path) -> None:
    with answering(short, b"SSH-2.0\r\n"):
        no_engine(project, DOCKER_HOST=f"unix://{short}")
        found = doctor(project, DOCKER_HOST=f"unix://{short}")
    assert found["state"] == "warning" and "no container engine" in found["text"]


def test_a_context_that_is_not_there(project: Project, tmp_path: Path) -> None:
    told = no_engine(project, DOCKER_HOST="", DOCKER_CONTEXT="attic", DOCKER_CONFIG=str(tmp_path))
    assert "the Docker context 'attic'" in told


def test_contexts_are_those_of_docker(project: Project, tmp_path: Path) -> None:
    """The one named, and the current one."""
    import hashlib

    folder = tmp_path / "config/contexts/meta" / hashlib.sha256(b"attic").hexdigest()
    folder.mkdir(parents=True)
    endpoint = {"Host": "unix:///attic/docker.sock", "SkipTLSVerify": False}
    meta = {"Name": "attic", "Metadata": {}, "Endpoints": {"docker": endpoint}}
    (folder / "meta.json").write_text(json.dumps(meta))
    config = tmp_path / "config/config.json"
    config.write_text("{}")
    env = {"DOCKER_HOST": "", "DOCKER_CONFIG": str(config.parent)}
    told = no_engine(project, **env, DOCKER_CONTEXT="attic")
    assert "unix:///attic/docker.sock (the context 'attic')" in told


def test_without_the_extra(project: Project) -> None:
    """The command works; what needs the package says how to install it."""
    project.site.mkdir(exist_ok=True)
    (project.site / "docker.py").write_text("raise ImportError('not here')\n")
    answer = handmade(project).coopery("run", "-r", "docker")
    assert answer.exit_code == 3 and answer.slugs == ("missing-extra",), answer.stderr
    assert "pip install 'coopery[docker]'" in answer.told("missing-extra")
    assert doctor(project)["state"] == "ok"
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    assert project.coopery("run").exit_code == 0


def test_doctor_finds_the_engine(project: Project, engine: Any) -> None:
    found = doctor(project)
    assert found["state"] == "ok" and f"API {engine.api_version}" in found["text"]


def test_doctor_without_an_engine_is_no_hindrance(project: Project) -> None:
    answer = project.coopery(
        "doctor", env={"DOCKER_HOST": "unix:///nowhere/s", "PIP_NO_INDEX": "1"}
    )
    assert answer.exit_code == 0 and "/nowhere/s" in answer.stdout


def test_buildkits_trace_is_read() -> None:
    """Bytes as BuildKit sends them, cut and damaged."""
    from coopery_docker.buildkit import Trace, fields_of

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def moment(seconds: int) -> bytes:
        return bytes([8, seconds])

    begun = field(1, b"d1") + field(3, b"[2/3] RUN true") + field(5, moment(5))
    log = field(1, b"d1") + field(4, b"\x1b[1mhi") + bytes([3 << 3, 1])
    ended = field(1, b"d1") + field(6, moment(9))
    trace = Trace()
    said = b"".join(trace.read(field(1, begun) + field(3, log)))
    assert said == b"[2/3] RUN true\n\x1b[1mhi"
    assert b"done in 4.0 s" in b"".join(trace.read(field(1, ended)))
    assert trace.vertices["d1"].instruction == 2 and trace.vertices["d1"].seconds == 4
    for damaged in (b"\x0a\x05ab", b"\xff" * 12, b"\x0b"):
        with pytest.raises(ValueError):
            fields_of(damaged)


def test_two_streams_share_a_log_by_lines() -> None:
    from coopery_docker.streams import Interleaved

    written: list[bytes] = []
    lines = Interleaved(written.append)
    for stream, part in ((1, b"one\ntw"), (2, b"err\n"), (1, b"o\nthree"), (2, b"x")):
        lines.take(stream, part)
    lines.look(end=True)
    assert b"".join(written) == b"one\ntwo\nerr\nthreex"


def test_a_full_disk_is_named() -> None:
    from coopery_docker.client import refused

    (found,) = refused("did not build", "write /x: no space left on device").problems
    assert found.slug == "disk-full" and "free some space" in (found.hint or "")
    (found,) = refused("did not build", "because").problems
    assert found.slug == "engine-refused" and found.message.endswith("did not build: because")


def test_an_engine_that_does_not_see_these_files(tmp_path: Path, engine: Any) -> None:
    """As one that is elsewhere: what it is to mount is not there."""
    from coopery.errors import MachineError
    from coopery_docker.client import connect
    from coopery_docker.containers import Job, run_container

    mount = {"Type": "bind", "Source": str(tmp_path / "nowhere"), "Target": "/x"}
    body = {
        "Image": "python:3.11-slim",
        "Entrypoint": ["true"],
        "HostConfig": {"Mounts": [mount], "NetworkMode": "none"},
    }
    job = Job(home=tmp_path, run="test", name="a", body=body, write=print)
    with pytest.raises(MachineError) as raised:
        run_container(connect(), job)
    assert raised.value.problems[0].slug == "engine-elsewhere"


def test_many_containers_leave_no_connections(tmp_path: Path, engine: Any) -> None:
    from coopery_docker.client import connect
    from coopery_docker.containers import Job, run_container

    host = {"NetworkMode": "none", "LogConfig": {"Type": "none"}}
    body = {"Image": "python:3.11-slim", "Entrypoint": ["true"], "HostConfig": host}
    job = Job(home=tmp_path, run="test", name="a", body=body, write=print)
    counts = []
    for _ in range(9):
        ended = run_container(connect(), job)
        assert ended.exit_code == 0 and ended.peak_memory
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert counts[-1] - counts[0] < 25 and counts[-1] == counts[-2]
