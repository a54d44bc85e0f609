"""Secrets of tasks: what a recipe may say of them, who sees them, and what is told of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from coopery import keeping
from coopery.testing import Project
from coopery.testing.traces import traces, traces_in, traces_in_processes

CANARY = "canary-53f1-'value\"-é&<"
MEMORY = Path("/dev/shm")


def wrong(project: Project, text: str) -> tuple[str, ...]:
    project.write("recipe.toml", text)
    return project.coopery("run").slugs


@pytest.mark.parametrize(
    ("lines", "slug"),
    [
        ("secrets.T = 'hunter2-as-text'", "secret-as-text"),
        ("secrets.T = { secret = 'ghp_" + "a1B2" * 9 + "' }", "wrong-value"),
        ("secrets.T = { secret = 'two words' }", "wrong-value"),
        ("secrets.T = { secret = 'A', as = 'argument' }", "unknown-value"),
        ("secrets.T = { secrt = 'A' }", "unknown-key"),
        ("secrets.'a-b' = { secret = 'A' }", "wrong-value"),
        ("secrets.T = { secret = 'A', as = 'variable' }\nenv.T = 'x'", "duplicate-name"),
        ("secrets.T = { secret = 'A', as = 'variable' }\npass_env = ['T']", "duplicate-name"),
        ("secrets.T = { secret = 'A' }\nsecrets.t = { secret = 'A' }", "duplicate-name"),
        ("secrets.COOPERY_X = { secret = 'A', as = 'variable' }", "bad-variable"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(
    project: Project, lines: str, slug: str
) -> None:
    text = f"[task.a]\ncommand = 'true'\n{lines}\n"
    project.write("recipe.toml", text)
    said = project.coopery("run")
    assert slug in said.slugs and said.exit_code == 2
    assert "hunter2" not in said.stderr and "ghp_" not in said.stderr


def test_a_placeholder_is_of_a_file(project: Project) -> None:
    text = """
    [task.a]
    command = "echo {secrets.T}"
    secrets.T = { secret = "A", as = "variable" }
    [task.b]
    command = "echo {secrets.tokn}"
    secrets.token = { secret = "A" }
    """
    project.write("recipe.toml", text)
    said = project.coopery("run")
    assert said.slugs == ("unknown-placeholder", "unknown-placeholder")
    assert "variables have no path" in said.stderr and "did you mean 'token'?" in said.stderr


def test_those_of_the_defaults_add_up(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [defaults]
        secrets.one = { secret = "ONE" }
        secrets.two = { secret = "ONE" }

        [task.a]
        command = "cat {secrets.one} {secrets.two} > {outputs.o}"
        secrets.two = { secret = "TWO" }
        outputs.o = "o"
        """,
    )
    project.run(env={"ONE": "1st-value", "TWO": "2nd-value"})
    assert project.read("o") == "1st-value2nd-value"


def test_a_function_takes_a_path(project: Project) -> None:
    project.write(
        "recipe.py",
        """
        from pathlib import Path
        from coopery import secret, task

        @task(outputs={"o": "o"}, secrets={"token": secret("ONE"), "other": secret("ONE")})
        def read(token: Path, o: Path) -> None:
            o.write_text(str(len(token.read_text())))

        @task(outputs={"o": "p"}, secrets={"WORD": secret("ONE", variable=True)})
        def see(o: Path) -> None:
            import os
            o.write_text(str(len(os.environ["WORD"])))
        """,
    )
    steps = project.run(env={"ONE": CANARY})
    assert project.read("o") == project.read("p") == str(len(CANARY))
    assert steps["see"]["secrets"]["WORD"]["as"] == "variable"
    assert not traces(CANARY, [project.root, project.home])
    project.write("recipe.py", project.read("recipe.py").replace('{"token"', '{"o"'))
    assert "function-signature" in project.coopery("run").slugs


def test_why_and_show_tell_names_and_rotations(project: Project) -> None:
    text = "[task.a]\ncommand = 'true'\nsecrets.T = { secret = 'A', rotation = ROTATION }\n"
    project.write("recipe.toml", text.replace("ROTATION", "1"))
    project.run(env={"A": CANARY})
    assert "secrets: T (A, as a file, rotation 1)" in project.coopery("show").stdout
    project.write("recipe.toml", text.replace("ROTATION", "2"))
    assert "secret T changed: A, rotation 1 -> A, rotation 2" in project.coopery("why", "a").stdout
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    assert "secret T is gone" in project.coopery("why", "a").stdout


@pytest.mark.parametrize("value", ["0", "a", "e", '"', "dev"])
def test_what_is_too_short_to_be_masked_is_refused(project: Project, value: str) -> None:
    """Else `****` would stand in run ids, numbers and keys of an answer."""
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\nsecrets.T = { secret = 'A' }\n")
    said = project.coopery("run", "--json", env={"A": value})
    assert said.exit_code == 3 and "[bad-secret]" in said.stderr
    assert "****" not in said.stdout + said.stderr and said.json
    (listed,) = project.coopery("secrets", "--json", env={"A": value}).json["secrets"]
    assert not listed["there"] and "fewer than 4" in listed["problem"]


def test_a_failure_is_run_again_with_the_same_source(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'false'\nsecrets.T = { secret = 'A' }\n")
    said = project.coopery("run", "--secret", "A=env:B", env={"B": CANARY})
    assert "run it again:  coopery run --secret A=env:B a" in said.stderr


def test_processes_that_coopery_calls_do_not_inherit_it(project: Project) -> None:
    """A named secret that is a variable, or that `--secret` says is one, is for its task alone."""
    shim = project.root.parent / "bin"
    shim.mkdir()
    (shim / "git").write_text(f"#!/bin/sh\nenv >> {shim}/seen\nexit 1\n")
    (shim / "git").chmod(0o755)
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\nsecrets.T = { secret = 'A' }\n")
    path = f"{shim}:{os.environ['PATH']}"
    project.run(env={"A": CANARY, "PATH": path})
    project.run("--force", "--secret", "A=env:B", env={"B": CANARY, "A": CANARY, "PATH": path})
    seen = (shim / "seen").read_text()
    assert "PATH=" in seen and CANARY not in seen


def test_where_mounts_are_not_allowed_nothing_is_copied(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.plugin(
        "bound",
        """
        import coopery_local.processes as processes
        import coopery_local.tasks as tasks
        tasks.has_mounts = processes.has_mounts = lambda: False
        """,
    )
    project.write(
        "recipe.toml",
        """
        [task.a]
        command = "wc -c < {secrets.T} > {outputs.o}; readlink {secrets.T} >> {outputs.o}"
        secrets.T = { secret = "A" }
        outputs.o = "o"
        """,
    )
    project.run(env={"A": CANARY})
    size, place = project.read("o").split()
    assert int(size) == len(CANARY.encode()) and place.startswith("/dev/shm/coopery-secrets-")


def test_a_task_with_shared_memory_of_its_own_has_them_too(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [task.a]
        command = "wc -c < {secrets.T} > {outputs.o}; ls /dev/shm >> {outputs.o}"
        resources = { shm = "1Mi" }
        secrets.T = { secret = "A" }
        outputs.o = "o"
        """,
    )
    project.run(env={"A": CANARY})
    assert project.read("o").split() == [str(len(CANARY.encode()))]


def test_the_folder_is_closed_and_swept_only_when_nobody_holds_it(tmp_path: Path) -> None:
    with keeping.memory_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700 and folder.parent == MEMORY
        assert folder not in keeping.sweep() and folder.exists()
    assert not folder.exists()
    left = MEMORY / f"coopery-secrets-{os.geteuid()}-test-{os.getpid()}"
    left.mkdir(0o700)
    (left / "T").write_text(CANARY)
    assert left in keeping.abandoned() and left.exists()
    keeping.sweep()
    assert not left.exists()


def test_doctor_finds_what_was_left_and_mends_it(project: Project) -> None:
    left = MEMORY / f"coopery-secrets-{os.geteuid()}-doctor-{os.getpid()}"
    left.mkdir(0o700)
    (left / "T").write_text(CANARY)
    try:
        said = project.coopery("doctor", "--json").stdout
        # Another run may have cleared it away just now.
        assert f"there are secrets of a run that was killed: {left}" in said or not left.exists()
        project.coopery("doctor", "--mend")
        assert not left.exists()
    finally:
        shutil.rmtree(left, ignore_errors=True)


def test_without_memory_it_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coopery.errors import MachineError

    monkeypatch.setattr(keeping, "_SHM", tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    if not keeping._is_in_memory(tmp_path):
        with pytest.raises(MachineError, match="no-memory-files"), keeping.memory_folder():
            pass


def test_a_killed_run_leaves_nothing_at_once(project: Project) -> None:
    """Under `local` whoever watches over tasks clears away, before any other run."""
    project.write(
        "recipe.toml",
        "[task.a]\ncommand = 'echo > {outputs.o}; sleep 300'\noutputs.o = 'o'\n"
        "secrets.T = { secret = 'A' }\n",
    )
    run = project.start("run", env={"A": CANARY})
    try:
        deadline = time.monotonic() + 60
        while not list(project.home.glob("scratch/*/*/work/outputs/o/o")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert _holding()
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
    deadline = time.monotonic() + 20
    while _holding():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not traces(CANARY, [project.home, project.root])


def _holding() -> list[str]:
    return traces(CANARY, MEMORY.glob(f"coopery-secrets-{os.geteuid()}-*"))


def test_while_a_task_runs_nobody_else_knows_it(project: Project) -> None:
    """Coopery was started with it; the task has it as a variable, or only in its file."""
    value = f"canary-{os.urandom(9).hex()}"
    for how in ("file", "variable"):
        project.write(
            "recipe.toml",
            f"""
            [task.a]
            command = "echo $$ > {{outputs.o}}; exec sleep 300"
            secrets.T = {{ secret = "A", as = "{how}" }}
            outputs.o = "{how}"
            """,
        )
        run = project.start("run", "--debug", "-v", env={"A": value})
        try:
            deadline = time.monotonic() + 60
            while not (made := list(project.home.glob(f"scratch/*/*/work/outputs/o/{how}"))):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(0.3)
            task = int(made[0].read_text())
            told = traces_in_processes(value, ("cmdline", "environ"))
            assert {int(trace.split()[0]) for trace in told} == (
                {run.pid} if how == "file" else {run.pid, task}
            )
            assert not traces_in_processes(value)
            assert not traces(value, [project.home, project.root])
        finally:
            run.send_signal(signal.SIGINT)
            said = "".join(run.communicate(timeout=60))
        assert not traces_in(said.encode(), value)


def test_a_crash_of_the_task_leaves_no_memory(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [task.a]
        command = "ulimit -S -c > {outputs.o}; ulimit -S -c 0; kill -SEGV $$"
        secrets.T = { secret = "A", as = "variable" }
        outputs.o = "o"

        [task.b]
        command = "ulimit -S -c > {outputs.o}"
        outputs.o = "p"
        """,
    )
    command = 'ulimit -S -c unlimited; exec "$@"'
    call = ["sh", "-c", command, "sh", sys.executable, "-m", "coopery", "run", "-j", "1"]
    environ = project.environment({"A": CANARY})
    subprocess.run(call, cwd=project.root, env=environ, capture_output=True, check=False)
    assert not traces(CANARY, [project.home, project.root])


@pytest.mark.parametrize("whom", ["coopery", "its supervisor"])
def test_a_crash_of_coopery_leaves_no_memory(project: Project, whom: str) -> None:
    """Though the system writes the memory of what crashes beside it."""
    project.write(
        "recipe.toml",
        """
        [task.before]
        command = "true"

        [task.a]
        command = "echo > {outputs.o}; echo $T; sleep 300"
        inputs.i = { from = "make.i" }
        secrets.T = { secret = "A", as = "variable" }
        outputs.o = "o"

        [task.make]
        command = "echo > {outputs.i}"
        outputs.i = {}
        """,
    )
    call = ["sh", "-c", 'ulimit -S -c unlimited; exec "$@"', "sh", sys.executable, "-m", "coopery"]
    run = subprocess.Popen(
        [*call, "run", "-j", "1"],
        cwd=project.root,
        env=project.environment({"A": CANARY}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not list(project.home.glob("scratch/*/*/work/outputs/o/o")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        below = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        for thread in Path(f"/proc/{run.pid}/task").iterdir():
            below += (thread / "children").read_text().split()
        assert below
        os.kill(run.pid if whom == "coopery" else int(below[0]), signal.SIGABRT)
        if whom != "coopery":
            run.wait(60)
    finally:
        run.kill()
        run.wait()
    time.sleep(0.5)
    assert not traces(CANARY, [project.home, project.root])
    assert not list(project.root.glob("core*"))


LEAK = """
import sys
import threading

from coopery.commands import Command
from coopery.errors import Problem, StepError
from coopery.hooks import hookimpl
from coopery.model import Secret
from coopery.options import CoreOptions


def run(context):
    value = context.plugins.secrets(context.settings).read(Secret(name="A"))

    def fail():
        raise ValueError(f"in a thread: {value}")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    for part in value:
        sys.stdout.write(part)
        sys.stdout.flush()
        sys.stderr.write(part)
    context.answer({"value": value}, value)
    sys.stderr.buffer.write(value.encode())
    if "b" in context.arguments.how:
        raise StepError(Problem(slug="x", message=f"m {value}", hint=f"h {value}"))
    try:
        {"k": 1}[value]
    except KeyError as error:
        raise RuntimeError(f"after {value!r}") from error


@hookimpl
def add_commands():
    def configure(parser):
        parser.add_argument("how")

    return [Command(name="leak", help="x", run=run, configure=configure, json=True,
                    options=(CoreOptions,))]
"""


@pytest.mark.parametrize("flags", [(), ("--debug",), ("--json", "--debug")])
@pytest.mark.parametrize("how", ["plain", "both"])
def test_whatever_this_process_prints_is_masked(
    project: Project, flags: tuple[str, ...], how: str
) -> None:
    """Answers, errors, tracebacks that are chained or of threads; byte by byte, too."""
    project.plugin("leak", LEAK)
    said = project.coopery("leak", how, *flags, env={"A": CANARY})
    assert "in a thread: ****" in said.stderr and said.stdout.startswith("****")
    assert not traces_in((said.stdout + said.stderr).encode(), CANARY)
    if "--json" in flags:
        assert json.loads(said.stdout.removeprefix("****")) == {"value": "****"}
    if "--debug" in flags and how == "plain":
        assert "KeyError: '****'" in said.stderr or "KeyError: " in said.stderr


def test_what_work_tells_is_masked_in_records_reports_and_stories(project: Project) -> None:
    project.plugin(
        "careless",
        """
        from coopery.errors import StepError, problem
        from coopery.hooks import hookimpl
        from coopery.steps import Made

        @hookimpl(tryfirst=True)
        def perform(step, workspace):
            value = workspace.secrets.read(step.work.secrets["T"])
            workspace.log.write_text("the log is the plugin's own & " + value)
            if step.name == "a":
                return Made(outputs={}, facts={"said": value, value: 1}, warnings=(value,))
            if step.name == "b":
                raise StepError(problem("x", f"m {value}", hint=value), facts={"v": [value]})
            raise RuntimeError(value)

        @hookimpl
        def observe(events):
            with open("seen", "a") as file:
                print(events, file=file)
        """,
    )
    tasks = "".join(
        f"[task.{name}]\ncommand = 'true {name}'\nsecrets.T = {{ secret = 'A' }}\nretries = 1\n"
        for name in "abc"
    )
    project.write("recipe.toml", tasks)
    reports = ("--junit", "run.xml", "--report", "run.html")
    said = project.coopery("run", "--json", "--debug", "-v", *reports, env={"A": CANARY})
    assert said.exit_code == 3, said.stderr
    assert "m ****" in said.stderr
    assert not traces_in((said.stdout + said.stderr).encode(), CANARY)
    # What a plugin writes to a log by itself is its own; not so what is told of it.
    left = traces(CANARY, [project.root, project.home])
    assert not [trace for trace in left if ".log: " not in trace]
    assert "****" in project.read("seen") and "****" in project.read("run.xml")
    assert "****" in project.coopery("show").stdout


def test_a_recipe_says_the_same_in_both_languages(project: Project) -> None:
    project.write(
        "recipe.toml",
        dedent("""
        [task.a]
        command = "true"
        secrets.one = { secret = "A", rotation = "x" }
        secrets.TWO = { secret = "B", as = "variable" }
        """),
    )
    first = project.run(env={"A": "a-value", "B": "b-value"})["a"]["key"]
    (project.root / "recipe.toml").unlink()
    project.write(
        "recipe.py",
        """
        from coopery import command, secret
        given = {"one": secret("A", rotation="x"), "TWO": secret("B", variable=True)}
        command("a", ["sh", "-c", "true"], secrets=given)
        """,
    )
    assert project.run(env={"A": "a-value", "B": "b-value"})["a"]["key"] == first
