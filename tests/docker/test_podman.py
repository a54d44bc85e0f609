"""The same runtime in Podman, where that is another engine than Docker's own.

All tests of containers run in Podman too when `DOCKER_HOST` leads to one. `COOPERY_ENGINES=1`, or
`nox -s engines`, adds what takes long.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project, make_project, performed
from coopery.testing.traces import traces, traces_in, traces_in_processes
from coopery_docker.notes import HOME, home_id, runs_noted

HANDMADE = Path(__file__).with_name("handmade.py")
HEAD = '[defaults]\nimage = "i"\n[image.i]\nsources = ["src"]\n'
SECONDS = 60
thorough = pytest.mark.skipif("COOPERY_ENGINES" not in os.environ, reason="nox -s engines runs it")


@pytest.fixture
def project(tmp_path: Path, podman: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose engine is Podman, with images made by hand upon a small base."""
    monkeypatch.setenv("DOCKER_HOST", podman)
    monkeypatch.setenv("HANDMADE_BASE", "small:1")
    monkeypatch.setenv("HANDMADE_RUN", "mkdir -p /work /usr/local/bin && chmod 0777 /work")
    made = make_project(tmp_path)
    made.plugin("handmade", HANDMADE.read_text("utf-8"))
    made.write("src/a.txt", "one\n")
    return made


@pytest.fixture
def api(podman: str) -> Iterator[Any]:
    import docker

    client = docker.APIClient(podman, version="auto")
    yield client
    client.close()


def left(api: Any, project: Project) -> list[str]:
    """The containers of a project's home."""
    label = f"{HOME}={home_id(project.home)}"
    return [c["Id"] for c in api.containers(all=True, filters={"label": [label]})]


def test_builds_runs_and_remembers(project: Project, api: Any) -> None:
    text = """
    [task.a]
    command = '''cat src/a.txt > {outputs.o}; read line < {inputs.i}; echo "$line" >> {outputs.o}
    echo lost > {inputs.i} || echo kept; cat /proc/1/comm /proc/self/status; sleep 0.3'''
    inputs.i = "in.txt"
    outputs.o = "build/o"
    """
    project.write("in.txt", "input\n")
    project.write("recipe.toml", HEAD + text)
    first = project.run("-r", "docker")
    assert project.read("build/o") == "one\ninput\n" and project.read("in.txt") == "input\n"
    assert (project.root / "build/o").stat().st_uid == os.getuid()
    log = Path(first["a"]["log"]).read_text()
    assert "kept\n" in log and "NoNewPrivs:\t1" in log and "CapBnd:\t0000000000000000" in log
    assert first["a"]["facts"]["peak_memory"] > 0 and left(api, project) == []
    (copied,) = first["image i sources"]["facts"]["layers"]
    assert copied["instruction"] == "COPY sources/ /" and not copied["cached"]
    assert performed(project.run("-r", "docker")) == []
    project.write("src/a.txt", "two\n")
    second = project.run("-r", "docker")
    assert performed(second) == ["image i sources", "image i", "a"]
    assert project.read("build/o") == "two\ninput\n"


@thorough
def test_the_builders_steps_are_timed_and_told_apart(project: Project, podman: str) -> None:
    mark = f"mkdir -p /work /usr/local/bin && chmod 0777 /work && sleep 0.4; : {time.time()}"
    env = {"HANDMADE_RUN": mark}
    project.write("recipe.toml", HEAD + "[task.a]\ncommand = 'true'\n")
    slow, *others = project.run("-r", "docker", env=env)["image i system"]["facts"]["layers"]
    assert slow["seconds"] >= 0.4 and not slow["cached"]
    assert not any(row["cached"] for row in others)
    home = {"COOPERY_HOME": str(project.home.with_name("other"))}
    again = project.run("-r", "docker", env={**env, **home})["image i system"]["facts"]["layers"]
    assert again[0]["cached"] and again[0]["seconds"] < 0.4


def failing(project: Project, text: str) -> tuple[str, str, int]:
    """The slug and message that the task `a` fails with, and the exit code."""
    project.write("recipe.toml", HEAD + text)
    answer = project.coopery("run", "-r", "docker", "--json")
    (found,) = next(s for s in answer.json["steps"] if s["step"] == "a")["problems"]
    assert "Traceback" not in answer.stderr
    return found["slug"], found["message"], answer.exit_code


def test_what_goes_wrong_is_named_as_elsewhere(project: Project, api: Any) -> None:
    slug, message, code = failing(project, "[task.a]\ncommand = ['no-such']\n")
    assert (slug, code) == ("command-not-found", 1) and "'no-such'" in message
    slug, message, code = failing(
        project, "[task.a]\ncommand = 'true'\ncontainer = { user = 'nosuch' }\n"
    )
    assert (slug, code) == ("bad-container", 1) and "no user 'nosuch'" in message
    slug, message, _ = failing(
        project, "[task.a]\ncommand = 'true'\ncontainer = { network = 'nosuch' }\n"
    )
    assert slug == "bad-container" and "no network 'nosuch'" in message
    slug, message, _ = failing(
        project,
        "[task.a]\ncommand = 'a=xxxxxxxx; while :; do a=$a$a; done'\nresources.memory = '32Mi'\n",
    )
    assert slug == "out-of-memory" and "32 MiB" in message
    slug, _, _ = failing(project, "[task.a]\ncommand = 'sleep 60'\ntimeout = '1s'\n")
    assert slug == "task-timeout"
    assert left(api, project) == [] and runs_noted(project.home) == []


def test_secrets_as_files_and_as_variables(project: Project, api: Any, podman: str) -> None:
    """For the task alone: neither while it runs nor afterwards does Podman know of them."""
    value = f"canary-{os.urandom(4).hex()}-'value\"-\u00e9"
    task = """
    secrets.file = { secret = "A" }
    secrets.TOKEN = { secret = "A", as = "variable" }
    """
    text = f"""
    [task.a]
    command = '''cat {{secrets.file}}; echo "$TOKEN"; ulimit -c > $HOME/on
    sleep 300'''
    {task}
    [task.b]
    command = '''test "$(cat {{secrets.file}})" = "$TOKEN" && echo good > {{outputs.o}}'''
    outputs.o = "o"
    {task}
    [task.d]
    command = '''cat {{secrets.file}} > /dev/null && ulimit -c > {{outputs.o}}'''
    outputs.o = "q"
    secrets.file = {{ secret = "A" }}
    """
    project.write("recipe.toml", HEAD + text)
    storage = Path(podman.removeprefix("unix://")).parent
    run = project.start("run", "-r", "docker", "a", env={"A": value})
    try:
        deadline = time.monotonic() + SECONDS
        while not list(project.home.glob("scratch/*/*/work/home/on")):
            assert time.monotonic() < deadline
            assert run.poll() is None, run.communicate()[1][-1500:]
            time.sleep(0.05)
        (on,) = project.home.glob("scratch/*/*/work/home/on")
        assert on.read_text() == "0\n"
        (ident,) = left(api, project)
        assert not traces_in(json.dumps(api.inspect_container(ident)).encode(), value)
        assert not traces_in_processes(value)
        assert not traces(value, [project.home, storage])
    finally:
        run.kill()
        run.communicate()
    project.run("-r", "docker", "b", "d", env={"A": value})
    assert project.read("o") == "good\n" and left(api, project) == []
    assert project.read("q") == "0\n"
    assert not traces(value, [project.home, storage])


def test_a_gpu_is_not_forgotten(project: Project) -> None:
    """Podman's API would leave the wish for one out, and say nothing."""
    project.plugin("card", "from coopery import resources\nresources._gpus = lambda: 1.0\n")
    project.write("recipe.toml", HEAD + "[task.a]\ncommand = 'true'\nresources.gpu = 1\n")
    answer = project.coopery("run", "-r", "docker")
    assert answer.exit_code == 3 and "[no-gpu]" in answer.stderr, answer.stderr


@thorough
def test_a_build_that_fails_shows_its_end(project: Project) -> None:
    project.write("recipe.toml", HEAD + "[task.a]\ncommand = 'true'\n")
    answer = project.coopery(
        "run", "-r", "docker", env={"HANDMADE_RUN": "echo to the builder; exit 7"}
    )
    assert answer.exit_code == 1 and "[image-failed]" in answer.stderr
    assert "to the builder" in answer.stderr


def started(project: Project, api: Any) -> subprocess.Popen[str]:
    project.write("recipe.toml", HEAD + "[task.a]\ncommand = 'sleep 300'\n")
    process = project.start("run", "-r", "docker")
    deadline = time.monotonic() + SECONDS
    label = f"{HOME}={home_id(project.home)}"
    while not api.containers(filters={"label": [label, "coopery.step=a"]}):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    return process


def test_interrupted_and_killed_runs_leave_nothing(project: Project, api: Any) -> None:
    process = started(project, api)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 130 and left(api, project) == []
    process = started(project, api)
    process.kill()
    process.communicate(timeout=SECONDS)
    assert len(left(api, project)) == 1 and runs_noted(project.home)
    told = project.coopery("doctor", env={"PIP_NO_INDEX": "1"}).stdout
    assert "Podman" in told and "of a run that was killed is left" in told
    project.write("recipe.toml", HEAD + "[task.a]\ncommand = 'true'\n")
    answer = project.coopery("run", "-r", "docker")
    assert answer.exit_code == 0 and "removed container" in answer.stderr, answer.stderr
    assert left(api, project) == [] and runs_noted(project.home) == []


def outside(project: Project, *arguments: str) -> dict[str, Any]:
    """What `coopery cache` tells of the images."""
    answer = project.coopery("cache", *arguments, "--json")
    assert answer.exit_code == 0, answer.stderr
    (found,) = answer.json["outside"]
    return dict(found)


def test_images_are_seen_and_kept_within_a_budget(project: Project, api: Any) -> None:
    """However Podman calls them."""
    project.write("recipe.toml", '[image.i]\n[task.a]\nimage = "i"\ncommand = "true"\n')
    assert performed(project.run("-r", "docker")) == ["image i system", "image i", "a"]
    answer = project.coopery("run", "-r", "docker", "-n", "--json", "--force")
    foretold = {s["step"]: s["forecast"] for s in answer.json["steps"]}
    assert foretold == {"image i system": "cached", "image i": "cached", "a": "run"}
    assert outside(project, "info")["count"] == 2
    found = outside(project, "gc", "--images-budget", "0", "--older-than", "0")
    assert (found["evicted"], found["after"]) == (2, 0)
    assert not api.images(filters={"label": [f"{HOME}={home_id(project.home)}"]})


@thorough
def test_images_of_no_use_are_listed_and_removed(project: Project, api: Any) -> None:
    project.write("recipe.toml", HEAD + "[task.a]\ncommand = 'true'\n")
    tag = project.run("-r", "docker")["image i"]["facts"]["image"]
    assert api.inspect_image(tag)
    shutil.rmtree(project.home / "places")
    (project.home / "places").mkdir()
    quick = {"PIP_NO_INDEX": "1"}
    assert "of no use any more" in project.coopery("doctor", env=quick).stdout
    told = project.coopery("doctor", "--mend", env=quick).stdout
    assert "removed: image" in told
    label = f"{HOME}={home_id(project.home)}"
    assert not [i for i in api.images(filters={"label": [label]}) if i.get("RepoTags")]
    project.run("-r", "docker", "--force")
