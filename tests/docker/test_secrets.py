"""Secrets of tasks in containers: files in memory, variables of which the engine knows nothing."""

from __future__ import annotations

import gzip
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project
from coopery.testing.suites.tasking import wait_until
from coopery.testing.traces import traces, traces_in, traces_in_processes
from coopery_docker.notes import HOME, home_id

HEAD = '[defaults]\nimage = "i"\n[image.i]\n'
# They look for one canary in the folders that all runs of this user share.
pytestmark = pytest.mark.xdist_group("docker-secrets")

CANARY = "canary-9a1c-'value\"-é"
BOTH = """
secrets.file = { secret = "A" }
secrets.TOKEN = { secret = "A", as = "variable" }
"""


def known(engine: Any, project: Project) -> str:
    """All that the engine tells of the containers and images of a project."""
    label = {"label": f"{HOME}={home_id(project.home)}"}
    found = [engine.inspect_container(c["Id"]) for c in engine.containers(all=True, filters=label)]
    for image in engine.images(filters=label):
        found += [engine.inspect_image(image["Id"]), engine.history(image["Id"])]
    return json.dumps(found, ensure_ascii=False)


@pytest.fixture
def bare(contained: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose images have neither a shell nor the way to get one back."""
    run = "mkdir -p /work && chmod 0777 /work && rm -f /bin/sh /bin/dash /bin/bash"
    monkeypatch.setenv("HANDMADE_RUN", run)
    source = (contained.site / "handmade.py").read_text()
    # What comes after would need the shell.
    link = 'link = Instruction(keyword="LABEL", arguments="a=b")\n    '
    start = source.index("link = Instruction(")
    (contained.site / "handmade.py").write_text(
        source[:start] + link + source[source.index("# After what takes long") :]
    )
    return contained


def test_the_engine_is_told_nothing(contained: Project, engine: Any) -> None:
    """Neither while a task runs, nor once coopery was killed; and the next run clears away."""
    command = '''command = "cat {secrets.file}; echo $TOKEN; touch $HOME/on; sleep 300"'''
    text = f"[task.a]\n{command}{BOTH}[task.b]\ncommand = 'true'\n"
    contained.write("recipe.toml", HEAD + text)
    run = contained.start("run", "-r", "docker", "a", env={"A": CANARY})
    try:
        wait_until(lambda: list(contained.home.glob("scratch/*/*/work/home/on")), "the task")
        said = known(engine, contained)
        assert "/coopery/secrets/file" in said and not traces_in(said.encode(), CANARY)
        assert not traces_in_processes(CANARY)
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
    assert not traces_in(known(engine, contained).encode(), CANARY)
    assert not traces(CANARY, [contained.home, contained.root])
    answer = contained.coopery("run", "-r", "docker", "b")
    assert answer.exit_code == 0, answer.stderr
    # This run has removed them, or another home's that began meanwhile.
    assert not traces(CANARY, list(Path("/dev/shm").glob("coopery-secrets-*")))
    assert '"Mounts": [{' not in known(engine, contained)


def test_another_user_of_the_image_can_read_them(contained: Project) -> None:
    text = f"""
    [task.a]
    command = 'test "$(cat {{secrets.file}})" = "$TOKEN" && id -u > {{outputs.o}}'
    container.user = "1234:1234"
    outputs.o = "o"
    {BOTH}
    """
    contained.write("recipe.toml", HEAD + text)
    contained.run("-r", "docker", env={"A": CANARY})
    assert contained.read("o") == "1234\n"


def test_without_a_shell_the_images_python_does(bare: Project) -> None:
    program = "import os,sys; open(sys.argv[1], 'w').write(os.environ['TOKEN'][::2])"
    text = f"""
    [task.a]
    command = ["python3", "-c", "{program}", "{{outputs.o}}"]
    outputs.o = "o"
    {BOTH}
    [task.b]
    command = ["no-such-command-here"]
    {BOTH}
    """
    bare.write("recipe.toml", HEAD + text)
    answer = bare.coopery("run", "-r", "docker", env={"A": CANARY})
    assert bare.read("o") == CANARY[::2], answer.stderr
    assert "no-such-command-here" in answer.told("command-not-found")


def test_with_neither_it_is_refused(contained: Project, bare: Project) -> None:
    source = (bare.site / "handmade.py").read_text()
    path = 'Instruction(keyword="ENV", arguments="PATH=/nowhere")'
    source = source.replace('Instruction(keyword="LABEL", arguments="a=b")', path)
    (bare.site / "handmade.py").write_text(source)
    bare.write("recipe.toml", f"{HEAD}[task.a]\ncommand = ['/usr/bin/true']\n{BOTH}")
    answer = bare.coopery("run", "-r", "docker", env={"A": CANARY})
    assert answer.exit_code == 1 and "drop `as`" in answer.told("no-secret-variables")


def test_an_archive_names_them_and_holds_none(contained: Project) -> None:
    text = f"""
    [task.a]
    command = "cat {{secrets.file}} > {{outputs.o}}"
    outputs.o = "o"
    {BOTH}
    """
    contained.write("recipe.toml", HEAD + text)
    answer = contained.coopery("pack", "-r", "docker", "a", "-o", "a.tar.gz", env={"A": CANARY})
    assert answer.exit_code == 0, answer.stderr
    content = (contained.root / "a.tar.gz").read_bytes()
    assert not traces_in(content, CANARY)
    text = gzip.decompress(content).decode("utf-8", "replace")
    assert "/coopery/secrets/file:ro -e TOKEN" in text
    assert 'COOPERY_SECRET_FILE="/coopery/secrets/file"' in text
