"""Calls that are forked off a zygote, and real ones: nobody can tell which is which."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Answer, Project, make_project
from coopery.testing.forking import Zygotes

TELLER = """
import argparse, atexit, gc, json, os, signal, subprocess, sys, threading, time
from coopery.commands import Command
from coopery.hooks import hookimpl

def configure(parser):
    parser.add_argument("what")

def stream(of):
    return [of.name, of.mode, of.encoding, of.errors, of.line_buffering, of.isatty(), of.seekable()]

def status():
    with open("/proc/self/status") as file:
        parts = dict(line.rstrip().split(":", 1) for line in file)
    return {k: v for k, v in parts.items() if k.startswith(("Sig", "Shd", "Cap", "Uid", "Gid"))}

def run(context):
    match context.arguments.what:
        case "process":
            main = sys.modules["__main__"]
            child = "import os; print(dict(os.environ), os.getcwd(), os.listdir('/proc/self/fd'))"
            done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True)
            found = {
                "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path,
                "flags": list(sys.flags), "env": list(os.environ.items()), "cwd": os.getcwd(),
                "umask": os.umask(0), "group": os.getpgrp(), "session": os.getsid(0),
                "descriptors": sorted(os.listdir("/proc/self/fd"))[:-1], "status": status(),
                "handlers": {str(s): str(signal.getsignal(s)) for s in signal.valid_signals()},
                "streams": [stream(sys.stdin), stream(sys.__stdout__), stream(sys.__stderr__)],
                "threads": [thread.name for thread in threading.enumerate()],
                "zone": [time.tzname, time.strftime("%H %Z", time.localtime(0))],
                "main": [main.__file__, main.__spec__.name, sorted(vars(main))],
                "executable": [sys.executable, sys.prefix, sys.base_prefix],
                "gc": gc.isenabled(), "child": done.stdout, "stdin": sys.stdin.read(),
                "bytecode": [sys.dont_write_bytecode, sys.pycache_prefix, sys.warnoptions],
                "priority": [os.nice(0), sorted(os.sched_getaffinity(0))],
            }
            print(json.dumps(found, indent=1))
        case "order":
            print(hash("a"))
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        case "exits":
            os._exit(77)
        case "left":
            open("left.txt", "w").write("x" * 10)
            held = open("held.txt", "w")
            held.write("y" * 10)
            context.held = [held] if hasattr(context, "__dict__") else None
            atexit.register(print, "at exit")
            threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
        case "raises":
            raise ValueError("of this plugin")
        case "bytes":
            sys.stdout.buffer.write(b"a\\r\\nb\\rc\\xc3\\xa9")
        case "much":
            print("o" * 300_000)
            print("e" * 300_000, file=sys.stderr)
        case "sleeps":
            with open("pid.txt", "w") as file:
                file.write(str(os.getpid()))
            print("written", flush=True)
            time.sleep(60)
    return 0

@hookimpl
def add_commands():
    return [Command(name="tell", help="x", run=run, configure=configure, recipe=False)]
"""
CALLS = [
    ("--version",),
    ("--help",),
    ("run", "--help"),
    ("list",),
    ("list", "--json"),
    ("lists",),
    ("plugins", "--json"),
    ("show", "a"),
    ("images",),
    ("run", "--dry-run", "--json"),
    ("run", "-j", "1"),
    ("run", "fails"),
    ("run", "--json", "a"),
    ("run", "-f", "broken.toml"),
    ("run", "-f", "nowhere.toml"),
    ("why", "a"),
    ("cache", "info"),
    ("lock", "--check"),
    ("tell", "process"),
    ("tell", "killed"),
    ("tell", "interrupted"),
    ("tell", "interrupted", "--debug"),
    ("tell", "exits"),
    ("tell", "left"),
    ("tell", "raises"),
    ("tell", "raises", "--debug"),
    ("tell", "bytes"),
    ("tell", "much"),
    ("tell", "nothing", "--without", "tell"),
]


@pytest.fixture(scope="module")
def zygotes(tmp_path_factory: pytest.TempPathFactory) -> Zygotes:
    found = Zygotes()
    folder = tmp_path_factory.mktemp("warm")
    assert found.call(["--version"], cwd=folder, env=os.environ)
    return found


@pytest.fixture
def forked(zygotes: Zygotes, monkeypatch: pytest.MonkeyPatch) -> Zygotes:
    """Projects fork their calls in this test, whatever the others do."""
    monkeypatch.setattr("coopery.testing.projects._zygotes", zygotes)
    return zygotes


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Project]]:
    """Two equal projects, for the same calls in the same order."""
    yield tuple(_twin(tmp_path_factory.mktemp("twin")) for _ in range(2))  # type: ignore[misc]


def _twin(folder: Path) -> Project:
    project = make_project(folder)
    project.plugin("tell", TELLER)
    project.write(
        "recipe.toml",
        """
        [task.a]
        command = "echo a > {outputs.o}; echo told >&2"
        outputs.o = "build/o"
        [task.fails]
        command = "exit 3"
        """,
    )
    project.write("broken.toml", "[task.a]\ncomand = 'true'\n")
    return project


def same(answer: Answer, project: Project, *, exact: bool) -> list[str]:
    """An answer without what differs from call to call anyway: times and sizes, if not `exact`."""

    def plain(text: str) -> str:
        text = text.replace(str(project.root.parent), "FOLDER")
        text = re.sub(r"\d{8}T\d{9}-[0-9a-f]{4}", "RUN", text)
        text = re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.+Z]+", "WHEN", text)
        if exact:
            return text
        return re.sub(r"\b\d+(\.\d+)?( ?(s|ms|[kKMG]i?B)\b|(?=,?$))", "N", text, flags=re.MULTILINE)

    told = f"{answer.exit_code}\n{plain(answer.stdout)}\nstderr:\n{plain(answer.stderr)}"
    return told.split("\n")


@pytest.mark.xdist_group("forking")
@pytest.mark.parametrize("arguments", CALLS, ids=" ".join)
def test_answers_are_those_of_real_processes(
    twins: tuple[Project, Project], forked: Zygotes, arguments: tuple[str, ...]
) -> None:
    env = {"TZ": "Asia/Tokyo", "HOME": "/nowhere", "COLUMNS": "70", "A Ü\udcff": "ö\udcfe"}
    real, other = twins
    before = os.umask(0o027)  # not the one that the zygote was started with
    try:
        expected = real.coopery(*arguments, env=env, real=True)
        found = other.coopery(*arguments, env=env)
    finally:
        os.umask(before)
    exact = arguments[0] == "tell"
    assert same(found, other, exact=exact) == same(expected, real, exact=exact)
    for name in ("left.txt", "held.txt"):
        if (real.root / name).exists():
            assert other.read(name) == real.read(name)


def test_a_call_is_forked_indeed(project: Project, zygotes: Zygotes) -> None:
    code, out, _ = called(zygotes, project, "--version")
    assert (code, out[:8]) == (0, b"coopery ")


def called(zygotes: Zygotes, project: Project, *arguments: str, **env: str) -> Any:
    return zygotes.call(arguments, cwd=project.root, env=project.environment(env))


def hiding(project: Project) -> None:
    project.write("json.py", "")


def hiding_above(project: Project) -> None:
    (project.root.parent / "pluggy").mkdir()
    (project.root.parent / "pluggy" / "__init__.py").touch()


def customised(project: Project) -> None:
    project.plugin("mine", "")
    (project.site / "sitecustomize.py").touch()


def hidden_by_a_plugin(project: Project) -> None:
    project.plugin("docker", "")


@pytest.mark.parametrize("make", [hiding, hiding_above, customised, hidden_by_a_plugin])
def test_what_would_be_imported_instead_wants_a_real_process(
    project: Project, zygotes: Zygotes, make: Callable[[Project], None]
) -> None:
    assert called(zygotes, project, "--version")
    make(project)
    assert called(zygotes, project, "--version") is None


def test_a_recipe_elsewhere_may_hide_modules_too(project: Project, zygotes: Zygotes) -> None:
    project.write("deeper/recipe.toml", "")
    assert called(zygotes, project, "list", "-f", "deeper/recipe.toml")
    project.write("deeper/json.py", "")
    for arguments in (("-f", "deeper/recipe.toml"), ("-fdeeper/recipe.toml",)):
        assert called(zygotes, project, "list", *arguments) is None
    assert called(zygotes, project, "list", "--file=deeper/recipe.toml") is None


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "LC_ALL", "LD_PRELOAD", "PYTHONUTF8"])
def test_what_python_reads_at_its_start_wants_a_real_process(
    project: Project, zygotes: Zygotes, name: str
) -> None:
    assert called(zygotes, project, "--version", **{name: "0"}) is None


def test_other_limits_want_a_real_process(project: Project) -> None:
    code = """
import resource, sys
from pathlib import Path
from coopery.testing import Project
from coopery.testing.forking import Zygotes
zygotes = Zygotes()
project = Project(root=Path(sys.argv[1]), home=Path(sys.argv[2]))
print(zygotes.call(["--version"], cwd=project.root, env=project.environment()) is None)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))
print(zygotes.call(["--version"], cwd=project.root, env=project.environment()) is None)
"""
    command = [sys.executable, "-c", code, str(project.root), str(project.home)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\nTrue\n"


def test_of_two_calls_in_a_row_each_has_hashes_of_its_own(
    project: Project, forked: Zygotes
) -> None:
    project.plugin("tell", TELLER)
    one, other = (project.coopery("tell", "order").stdout for _ in range(2))
    assert one != other


def test_threads_may_call_at_once(project: Project, zygotes: Zygotes) -> None:
    project.plugin("tell", TELLER)
    told: list[Any] = []

    def call() -> None:
        told.append(called(zygotes, project, "tell", "much"))

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(code, len(out), len(err)) for code, out, err in told] == [(0, 300_001, 300_001)] * 6


def test_a_call_that_is_given_up_is_killed(
    project: Project, zygotes: Zygotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.plugin("tell", TELLER)

    def give_up(contents: dict[int, bytearray]) -> tuple[bytes, ...]:
        os.read(min(contents), 10)  # it runs
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr("coopery.testing.forking._read", give_up)
        with pytest.raises(TimeoutError):
            called(zygotes, project, "tell", "sleeps")
    pid = project.read("pid.txt")
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert called(zygotes, project, "--version")[0] == 0
    assert called(zygotes, project, "--version")[0] == 0


def test_what_is_preloaded_looks_at_nothing_of_a_call() -> None:
    """It reads no variable, no folder, starts no thread and no process, and keeps no file open."""
    code = """
import os, sys, threading
read, started = set(), []
class Spy(dict):
    def __getitem__(self, name):
        read.add(os.fsdecode(name))
        return super().__getitem__(name)
os.environ._data = Spy(os.environ._data)
def watch(event, arguments):
    if event in ("subprocess.Popen", "os.fork", "os.exec", "socket.connect", "os.posix_spawn"):
        started.append(event)
sys.addaudithook(watch)
os.chdir("/")
sys.path.insert(0, sys.argv[1])
sys.argv = ["zygote.py"]
import zygote
zygote.preload()
import json, sysconfig, tempfile
assert sysconfig._CONFIG_VARS is None
print(json.dumps([sorted(read), started, threading.active_count(), tempfile.tempdir,
    len(os.listdir("/proc/self/fd"))]))
"""
    import coopery.testing

    folder = Path(coopery.testing.__file__).parent
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sysconfig = ["HOME", "PYTHONUSERBASE", "_PYTHON_PROJECT_BASE"]
    """That module asks whether there is a home, not which one it is, and for Python's own."""
    assert json.loads(done.stdout) == [sysconfig, [], 1, None, 4]
