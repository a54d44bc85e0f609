"""The way to the engine: which one is meant, and what is said when none answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
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
    if not project.site.exists():
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


def refused(project: Project, slug: str, **env: str) -> str:
    """What a run says of an engine that it does not even ask."""
    answer = handmade(project).coopery("run", "-r", "docker", env=env)
    assert answer.exit_code == 3 and answer.slugs == (slug,), answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.told(slug)


def test_an_engine_at_a_port_that_nobody_listens_at(project: Project) -> None:
    told = no_engine(project, DOCKER_HOST="tcp://127.0.0.1:9")
    assert "tcp://127.0.0.1:9 (DOCKER_HOST)" in told and "refused" in told


@pytest.mark.parametrize(
    "address",
    [
        "http://ada:geheim@127.0.0.1:9", "bogus://x", "nonsense", "/var/run/docker.sock", "tcp://",
        "tcp://127.0.0.1", "tcp://127.0.0.1:x", "fd://3", "npipe:////./pipe/docker", "unix:/x",
    ],
)  # fmt: skip
def test_what_is_no_address(project: Project, address: str) -> None:
    told = refused(project, "engine-address", DOCKER_HOST=address)
    assert "DOCKER_HOST names no engine" in told and "unix:///var/run/docker.sock" in told
    assert "geheim" not in told


def test_an_engine_behind_ssh_is_elsewhere(project: Project, tmp_path: Path) -> None:
    """By DOCKER_HOST and by a context; without any way to go there being tried."""
    told = refused(project, "engine-elsewhere", DOCKER_HOST="ssh://ada:geheim@away.example")
    assert "away.example (DOCKER_HOST)" in told and "run coopery there" in told
    assert "geheim" not in told
    env = attic(tmp_path, "ssh://away.example")
    told = refused(project, "engine-elsewhere", **env, DOCKER_CONTEXT="attic")
    assert "away.example (the context 'attic')" in told


def test_certificates_that_are_not_there(project: Project, tmp_path: Path) -> None:
    env = {"DOCKER_HOST": "tcp://127.0.0.1:9", "DOCKER_TLS_VERIFY": "1"}
    told = refused(project, "engine-tls", **env, DOCKER_CERT_PATH=str(tmp_path))
    assert f"{tmp_path}/ca.pem" in told and "DOCKER_CERT_PATH" in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n "auths": {', ":2"),
        ("[]", "no table"),
        ('{"auths": {"a.example": {"auth": "geheim"}}}', "auths"),
        ('{"auths": {"a.example": 3}}', "auths"),
        ('{"auths": 3}', "auths"),
        ('{"proxies": {"default": 3}}', "proxies"),
        ("\udcff", "no JSON"),
    ],
)
def test_a_configuration_of_docker_that_is_none(
    project: Project, tmp_path: Path, text: str, words: str
) -> None:
    """It says which engine is meant, so it is not passed over."""
    file = tmp_path / "config.json"
    file.write_text(text, "utf-8", "surrogateescape")
    told = refused(project, "docker-config", DOCKER_HOST="", DOCKER_CONFIG=str(tmp_path))
    assert str(file) in told and words in told and "geheim" not in told


@pytest.mark.parametrize("group", [0, 65533, "named"])
def test_a_socket_without_permission(short: Path, group: int | str) -> None:
    """One is told which group to become a member of, where that would help."""
    import grp

    if os.geteuid() != 0:
        pytest.skip("whom the socket is forbidden is somebody else")
    name = grp.getgrall()[-1] if group == "named" else None
    number = name.gr_gid if name else int(group)
    short.parent.chmod(0o755)
    with answering(short, PONG):
        os.chown(short, 0, number)
        short.chmod(0o660)
        code = "from coopery_docker.client import connect; connect()"
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
             "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
             sys.executable, "-c", code],
            env={**os.environ, "DOCKER_HOST": f"unix://{short}", "HOME": str(short.parent)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    told = done.stderr
    assert f"unix://{short} (DOCKER_HOST): Permission denied [no-engine]" in told, told
    if number == 0:
        assert "root's alone" in told
    else:
        assert f"usermod -aG {name.gr_name if name else number} $USER" in told
    assert "-r local" in told


def test_what_is_no_engine(project: Project, short: Path) -> None:
    with answering(short, b"SSH-2.0\r\n"):
        no_engine(project, DOCKER_HOST=f"unix://{short}")
        found = doctor(project, DOCKER_HOST=f"unix://{short}")
    assert found["state"] == "warning" and "no container engine" in found["text"]


def attic(folder: Path, host: str) -> dict[str, str]:
    """Docker's configuration with a context `attic`; the variables that lead there."""
    import hashlib

    inner = folder / "config/contexts/meta" / hashlib.sha256(b"attic").hexdigest()
    inner.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": False}
    meta = {"Name": "attic", "Metadata": {}, "Endpoints": {"docker": endpoint}}
    (inner / "meta.json").write_text(json.dumps(meta))
    return {"DOCKER_HOST": "", "DOCKER_CONFIG": str(folder / "config")}


def test_a_context_that_is_not_there(project: Project, tmp_path: Path) -> None:
    env = {"DOCKER_HOST": "", "DOCKER_CONFIG": str(tmp_path)}
    told = refused(project, "engine-address", **env, DOCKER_CONTEXT="attic")
    assert "no Docker context 'attic', which DOCKER_CONTEXT names" in told
    (tmp_path / "config.json").write_text('{"currentContext": "cellar"}')
    told = refused(project, "engine-address", **env)
    assert f"no Docker context 'cellar', which {tmp_path}/config.json names" in told


def test_contexts_are_those_of_docker(project: Project, tmp_path: Path) -> None:
    """The one named, and the current one; DOCKER_HOST wins over both."""
    env = attic(tmp_path, "unix:///attic/docker.sock")
    there = "unix:///attic/docker.sock (the context 'attic')"
    assert there in no_engine(project, **env, DOCKER_CONTEXT="attic")
    (tmp_path / "config/config.json").write_text('{"currentContext": "attic"}')
    assert there in no_engine(project, **env)
    told = no_engine(project, **env | {"DOCKER_HOST": "unix:///nowhere/s", "DOCKER_CONTEXT": "x"})
    assert "unix:///nowhere/s (DOCKER_HOST)" in told


def test_a_context_that_is_damaged(project: Project, tmp_path: Path) -> None:
    env = attic(tmp_path, "")
    (meta,) = tmp_path.rglob("meta.json")
    for text in ("{", "[]", '{"Endpoints": {}}', '{"Endpoints": {"docker": {}}}'):
        meta.write_text(text)
        assert str(meta) in refused(project, "docker-config", **env, DOCKER_CONTEXT="attic")


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

    if connect().is_podman:
        pytest.skip("Podman makes the folders that it does not find")
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
        assert ended.exit_code == 0 and ended.memory.peak
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert counts[-1] - counts[0] < 25 and counts[-1] == counts[-2]
