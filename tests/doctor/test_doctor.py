"""`coopery doctor`: what is well or wrong with machine, home, engine and index."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coopery.testing import Project
from coopery_store.filesystems import file_system_of

RECIPE = '[task.a]\ncommand = ["true"]\n'
OFFLINE = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "DOCKER_HOST": ""}
"""No test but those of the index asks one."""


def doctor(project: Project, *arguments: str, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the findings by subject (the last of each)."""
    answer = project.coopery("doctor", "--json", *arguments, env={**OFFLINE, **env})
    assert "Traceback" not in answer.stderr, answer.stderr
    document = answer.json
    assert document["well"] is (answer.exit_code == 0)
    return answer.exit_code, {finding["subject"]: finding for finding in document["findings"]}


def test_all_is_well_on_a_machine_that_runs_these_tests(project: Project) -> None:
    project.write("recipe.toml", RECIPE)
    project.run()
    code, found = doctor(project)
    assert code == 0
    wanted = {"python", "uv", "git", "cores", "memory", "engine", "index", "home", "file system"}
    assert wanted <= found.keys() and {"budget", "disk", "leftovers", "quarantine"} <= found.keys()
    assert found["home"]["state"] == found["uv"]["state"] == "ok"
    answer = project.coopery("doctor", env=OFFLINE)
    assert answer.exit_code == 0 and f"home         ok" in answer.stdout  # noqa: F541


def test_a_home_that_is_not_there_is_not_made(project: Project) -> None:
    code, found = doctor(project)
    assert code == 0 and "not there yet" in found["home"]["text"]
    assert not project.home.exists()


# -- what dead runs left --------------------------------------------------------------------------


def killed_run(project: Project) -> str:
    """Kill a run in the middle of its task; its id."""
    project.write("recipe.toml", '[task.a]\ncommand = ["sleep", "60"]\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "coopery", "run"],
        cwd=project.root,
        env={**os.environ, "COOPERY_HOME": str(project.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(project.home.glob("runs/*/progress.jsonl")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (run,) = (path.name for path in (project.home / "runs").iterdir())
    return run


def left(home: Path) -> list[str]:
    """What only living runs have."""
    found = [*home.glob("scratch/*"), *home.glob("runs/*/lock"), *home.glob("runs/*/control")]
    kept = {"journal", "index", "resources", "gc"}
    found += [path for path in home.glob("locks/*") if path.name not in kept]
    return sorted(str(path.relative_to(home)) for path in found)


def test_what_a_killed_run_left_is_told_and_cleared_away(project: Project) -> None:
    run = killed_run(project)
    assert left(project.home)
    code, found = doctor(project)
    assert code == 0 and found["leftovers"]["state"] == "warning"
    assert "--mend" in found["leftovers"]["hint"] and left(project.home)
    code, found = doctor(project, "--mend")
    assert code == 0 and found["leftovers"]["mended"]
    assert left(project.home) == []
    assert doctor(project)[1]["leftovers"]["state"] == "ok"
    shown = project.coopery("show", run, "--json")
    assert shown.exit_code == 0 and shown.json["state"] == "killed"


def test_what_cannot_be_cleared_away_is_not_said_to_be(project: Project) -> None:
    """Such as a folder in which somebody else has written."""
    killed_run(project)
    (folder,) = [path for path in project.home.glob("scratch/*") if path.is_dir()]
    (folder / "theirs").touch()
    project.plugin(
        "theirs",
        """
        from pathlib import Path
        from coopery_store import scratch
        removed = scratch.remove

        def remove(path):
            if (Path(path) / "theirs").exists():
                raise PermissionError(1, "Operation not permitted")
            removed(path)

        scratch.remove = remove
        """,
    )
    command = ("doctor", "--mend", "--json")
    findings = project.coopery(*command).json["findings"]
    told = [f for f in findings if f["subject"] == "leftovers"]
    (stuck,) = [f for f in told if "scratch folders" in f["text"]]
    assert not stuck["mended"] and "could not be cleared away" in stuck["text"]
    assert str(folder) in stuck["text"] and "as root" in stuck["hint"]
    (folder / "theirs").unlink()
    findings = project.coopery(*command).json["findings"]
    assert any(f["mended"] and f["text"].endswith("of dead runs") for f in findings)


def test_the_next_run_clears_it_away_too(project: Project) -> None:
    killed_run(project)
    project.write("recipe.toml", RECIPE)
    project.run()
    assert left(project.home) == []


def test_a_living_run_loses_nothing_to_doctor(project: Project) -> None:
    recipe = '[task.a]\ncommand = ["sh", "-c", "until test -e {params.go}; do sleep 0.05; done"]\n'
    project.write("recipe.toml", f"{recipe}params.go = '{project.root}/go'\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "coopery", "run"],
        cwd=project.root,
        env={**os.environ, "COOPERY_HOME": str(project.home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(project.home.glob("runs/*/progress.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    before = left(project.home)
    assert doctor(project, "--mend")[0] == 0
    assert project.coopery("cache", "gc", "--budget", "0", "--older-than", "0").exit_code == 0
    assert left(project.home) == before
    (project.root / "go").touch()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told


# -- the index ------------------------------------------------------------------------------------


@contextmanager
def answering(address: Any, answer: bytes, kind: int = socket.AF_UNIX) -> Iterator[socket.socket]:
    """A server that gives everybody the same answer."""
    with socket.socket(kind) as server:
        server.bind(address)
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
        yield server
        server.shutdown(socket.SHUT_RDWR)


def index(project: Project, url: str) -> tuple[int, dict[str, Any], str]:
    env = {"PIP_NO_INDEX": "", "PIP_INDEX_URL": url, "NO_PROXY": "*", "no_proxy": "*"}
    code, found = doctor(project, **env)
    return code, found["index"], str(found)


def test_an_index_that_answers(project: Project) -> None:
    page = b"<!DOCTYPE html><html><body></body></html>"
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
    answer += b"Content-Length: %d\r\n\r\n%b" % (len(page), page)
    with answering(("127.0.0.1", 0), answer, socket.AF_INET) as server:
        port = server.getsockname()[1]
        code, found, every = index(project, f"http://ada:geheim@127.0.0.1:{port}/simple")
    assert code == 0 and found["state"] == "ok" and "answers" in found["text"], found
    assert f"127.0.0.1:{port}" in found["text"] and "geheim" not in every


def test_an_index_that_does_not_answer(project: Project) -> None:
    code, found, every = index(project, "http://ada:geheim@127.0.0.1:9/simple")
    assert code == 3 and found["state"] == "error" and "does not answer" in found["text"]
    assert found["hint"] and "geheim" not in every


def test_an_index_that_refuses_the_credentials(project: Project) -> None:
    answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with answering(("127.0.0.1", 0), answer, socket.AF_INET) as server:
        port = server.getsockname()[1]
        code, found, every = index(project, f"http://ada:geheim@127.0.0.1:{port}/simple")
    assert code == 3 and "credentials" in found["text"] and "geheim" not in every


def test_a_configuration_that_cannot_be_read(project: Project) -> None:
    file = project.write("pip.conf", "[global\nindex-url = http://ada:geheim@x/\n")
    code, found = doctor(project, PIP_CONFIG_FILE=str(file), PIP_NO_INDEX="")
    assert code == 3 and "cannot be read" in found["index"]["text"]
    assert "geheim" not in str(found)


# -- the file system ------------------------------------------------------------------------------


def test_the_file_system_is_that_of_the_innermost_mount() -> None:
    mounts = (
        "22 1 8:1 / / rw,relatime - ext4 /dev/vda rw\n"
        "30 22 0:40 / /srv rw shared:1 - nfs4 server:/srv rw\n"
        "31 30 0:41 / /srv/a\\040b rw - tmpfs tmpfs rw\n"
    )
    assert file_system_of(Path("/home"), mounts) == "ext4"
    assert file_system_of(Path("/srv/x"), mounts) == "nfs4"
    assert file_system_of(Path("/srv/a b/c"), mounts) == "tmpfs"
    assert file_system_of(Path("/"), None) != ""
