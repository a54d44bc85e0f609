"""`run --shell`: a shell where a task would run."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coopery.testing import Project

DEADLINE = 60.0
RECIPE = """
[task.first]
command = "echo once >> LOG; echo one > {outputs.o}"
outputs.o = { transient = true }

[task.fit]
matrix.fold = [0, 1]
command = "cat {inputs.i}; echo {matrix.fold} > {outputs.model}; exit 3"
inputs.i = { from = "first.o" }
inputs.raw = "raw.txt"
outputs.model = "build/{matrix.fold}/model"
env.MODE = "fast"

[task.broken]
command = "exit 4"
outputs.o = {}

[task.after]
command = "true"
inputs.o = { from = "broken.o" }
"""


class Session:
    """`coopery run --shell` on a terminal of its own."""

    def __init__(self, project: Project, *arguments: str) -> None:
        self.here, there = pty.openpty()
        termios.tcsetwinsize(there, (24, 500))  # so that no line is wrapped
        self.process = subprocess.Popen(
            [sys.executable, "-m", "coopery", "run", "--shell", *arguments],
            cwd=project.root,
            env={**os.environ, "COOPERY_HOME": str(project.home), "TERM": "dumb"},
            preexec_fn=lambda: os.login_tty(there),
        )
        os.close(there)
        self.seen = ""

    def type(self, keys: str, marker: str) -> str:
        """Type, and wait until the marker is printed; all that was printed until then."""
        os.write(self.here, keys.encode())
        deadline = time.monotonic() + DEADLINE
        while marker not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.here], [], [], 0.1)[0]:
                self.seen += os.read(self.here, 65536).decode("utf-8", "replace")
        found, _, self.seen = self.seen.partition(marker)
        return found

    def ask(self, command: str) -> str:
        """What a command prints in the shell."""
        self.type(f"{command}; echo en''d\r", "\n")
        said = self.type("", "end\r\n").replace("\r\n", "\n")
        self.type("", ") $ ")  # what is typed before the prompt is echoed twice
        return said

    def end(self, keys: str = "") -> int:
        """Type, and wait until coopery has ended; its exit code."""
        os.write(self.here, keys.encode())
        deadline = time.monotonic() + DEADLINE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.here], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self.here, 65536).decode("utf-8", "replace")
                except OSError:
                    break  # nobody has the terminal any more
        return self.process.wait(DEADLINE)


Start = Callable[..., Session]


@pytest.fixture
def start(project: Project) -> Iterator[Start]:
    project.write("recipe.toml", RECIPE.replace("LOG", f"{project.root}/log"))
    project.write("raw.txt", "raw\n")
    sessions: list[Session] = []

    def begin(*arguments: str) -> Session:
        sessions.append(Session(project, *arguments))
        return sessions[-1]

    yield begin
    for session in sessions:
        session.process.kill()
        session.process.wait()
        os.close(session.here)


def test_a_shell_sees_what_the_task_would(project: Project, start: Start) -> None:
    shell = start("fit@fold=1")
    told = shell.type("", "(fit@fold=1) $ ")
    assert "start    first" in told and "--force" not in told
    assert "a shell in the place of fit@fold=1" in told
    model = told.split("output model: ")[1].split("\r\n")[0]
    assert f"echo 1 > {model}; exit 3" in told
    assert shell.ask('cat "$COOPERY_INPUT_I" "$COOPERY_INPUT_RAW"') == "one\nraw\n"
    assert shell.ask('echo "$MODE $TZ ${LOGNAME-none} $COOPERY_OUTPUT_MODEL"') == (
        f"fast UTC none {model}\n"
    )
    scratch = Path(model).parents[2]
    assert shell.ask("pwd") == f"{scratch}/cwd\n"
    assert shell.ask("command -v python") == f"{Path(sys.executable).parent}/python\n"
    assert "denied" in shell.ask('(echo no > "$COOPERY_INPUT_RAW") 2>&1 | tr A-Z a-z') or (
        "read-only" in shell.ask('(echo no > "$COOPERY_INPUT_RAW") 2>&1 | tr A-Z a-z')
    )
    shell.ask('echo made > "$COOPERY_OUTPUT_MODEL"; sleep 1000 & echo $! > pid')
    pid = int((scratch / "cwd/pid").read_text())
    assert shell.end("exit 7\r") == 7
    # Nothing is left of it, and nothing is remembered.
    assert not scratch.exists() and list((project.home / "scratch").iterdir()) == []
    assert not (project.root / "build").exists() and project.read("raw.txt") == "raw\n"
    deadline = time.monotonic() + DEADLINE
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert project.forecast("fit@fold=1")["fit@fold=1"] == "run"


def test_needs_are_made_once_and_made_again_when_their_bytes_are_gone(
    project: Project, start: Start
) -> None:
    assert project.coopery("run", "fit").exit_code == 1  # its readers failed: first.o is dropped
    runs = len(project.coopery("runs", "--json").json)
    shell = start("fit@fold=0")
    told = shell.type("", "(fit@fold=0) $ ")
    assert "its bytes were gone and a reader needs them" in told and "--force" not in told
    assert shell.ask('cat "$COOPERY_INPUT_I"') == "one\n"
    assert shell.end("exit\r") == 0
    assert project.read("log") == "once\n" * 2
    shell = start("fit@fold=0")
    assert "first" not in shell.type("", "(fit@fold=0) $ ").partition("a shell")[0]
    assert shell.end("exit\r") == 0
    # Where all is there, no run hides the one that is looked into.
    assert len(project.coopery("runs", "--json").json) <= runs + 2


def test_keys_are_the_shells(start: Start) -> None:
    shell = start("broken")
    shell.type("", "(broken) $ ")
    shell.type("sleep 1000\r", "sleep 1000")
    time.sleep(0.5)
    shell.type("\x03", "(broken) $ ")
    assert shell.ask("echo alive") == "alive\n"
    shell.process.send_signal(signal.SIGTERM)  # coopery is ended: so is the shell
    assert shell.end() == 128 + signal.SIGHUP


def test_what_goes_wrong_before_is_told(project: Project, start: Start) -> None:
    shell = start("after")
    assert shell.end() == 1
    assert "[task-failed]" in shell.seen and "a shell in" not in shell.seen
    for arguments, slug in (
        (("broken",), "no-terminal"),
        ((), "no-terminal"),
        (("broken", "-n"), "bad-command-line"),
        (("broken", "--watch"), "bad-command-line"),
        (("broken", "--downstream"), "bad-command-line"),
        (("after", "--needs-only"), "bad-command-line"),
        (("broken", "--only"), "bad-command-line"),
    ):
        answer = project.coopery("run", "--shell", *arguments)
        assert answer.exit_code == 2 and f"[{slug}]" in answer.stderr
    for flag in ("--report", "--junit"):
        shell = start("broken", flag, "FILE")
        assert shell.end() == 2 and f"{flag} and --shell exclude each other" in shell.seen
    assert not (project.root / "FILE").exists()
    shell = start("fit")
    assert shell.end() == 2 and "[one-task]" in shell.seen


def test_the_environment_of_an_image_comes_first(project: Project, start: Start) -> None:
    project.write(
        "recipe.toml",
        "[image.tools]\nsources = ['raw.txt']\nenv.MARK = 'yes'\n"
        "[task.look]\nimage = 'tools'\ncommand = 'python --version'\n",
    )
    shell = start("look")
    shell.type("", "(look) $ ")
    assert shell.ask("echo $MARK; cat raw.txt") == "yes\nraw\n"
    assert shell.ask("python -c 'import sys; print(sys.prefix)'").startswith(str(project.home))
    assert shell.end("exit\r") == 0
    assert project.forecast()["look"] == "run"


def test_a_shell_that_does_not_listen_is_ended_all_the_same(start: Start) -> None:
    shell = start("broken")
    shell.type("", "(broken) $ ")
    shell.ask("trap '' HUP")
    shell.process.send_signal(signal.SIGTERM)
    assert shell.end() == 128 + signal.SIGKILL


def test_a_shell_has_the_secrets_of_its_task(
    project: Project, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "canary-shell-value")
    project.write(
        "recipe.toml",
        """
        [task.a]
        command = "true"
        secrets.token = { secret = "API_TOKEN" }
        secrets.WORD = { secret = "API_TOKEN", as = "variable" }
        """,
    )
    shell = start("a")
    told = shell.type("", "(a) $ ")
    assert "secret token: " in told and "secret WORD: the variable of that name" in told
    assert shell.ask('test "$(cat $COOPERY_SECRET_TOKEN)" = "$WORD" && echo "${#WORD}"') == "18\n"
    left = list(Path("/dev/shm").glob(f"coopery-secrets-{os.geteuid()}-*/token"))
    assert any(path.read_text() == "canary-shell-value" for path in left)
    assert shell.end("exit\r") == 0
    assert not any(path.exists() and "canary-shell" in path.read_text() for path in left)


def test_the_one_task_there_is_need_not_be_named(project: Project, start: Start) -> None:
    project.write("one/recipe.toml", '[task.only]\ncommand = "true"\n')
    shell = start("-f", "one/recipe.toml")
    shell.type("", "(only) $ ")
    assert shell.ask("echo $((6 * 7))") == "42\n"
    assert shell.end("exit\r") == 0
    several = start()
    assert several.end() == 2
    assert "5 are there, and none is named" in several.seen
