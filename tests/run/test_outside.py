"""A run seen from outside: detached, by its run file, from any folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from coopery import record_schema
from coopery.testing import Answer, Project, call

DEADLINE = 20.0
RECIPE = """
[task.wait]
command = 'echo begin; until test -e {params.gate}; do sleep 0.05; done; echo end'
params.gate = "gate"

[task.quick]
command = 'echo quick; exit {params.code}'
params.code = 0
"""


def until(look: Callable[[], Any], good: Callable[[Any], bool] = bool) -> Any:
    """Look until what is found is good."""
    deadline = time.monotonic() + DEADLINE
    while not good(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


@pytest.fixture
def live(project: Project) -> Iterator[Project]:
    """A project with a task that goes on until there is a file `gate`; none runs afterwards."""
    gate = project.root / "gate"
    project.write("recipe.toml", RECIPE.replace('"gate"', json.dumps(str(gate))))
    yield project
    gate.touch()
    until(lambda: running(project), lambda found: not found)


def running(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = project.coopery("status", "--json").json["running"]
    return found


def outside(project: Project, *arguments: str) -> Answer:
    """Call coopery far from the project, and without its home folder."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("COOPERY_")}
    env["HOME"] = str(project.home.with_name("nobody"))
    return call(*arguments, cwd=Path("/"), env=env)


def detach(project: Project, *arguments: str) -> str:
    """Detach a run; its id."""
    answer = project.coopery("run", "--detach", *arguments)
    assert answer.exit_code == 0, answer.stderr
    return answer.stdout.strip()


def process_of(project: Project, run: str) -> int:
    """The process of a run: the one that holds its lock."""
    lock = project.home / "runs" / run / "lock"
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.path.samefile(link, lock) for link in (folder / "fd").iterdir()):  # noqa: PTH121
                return int(folder.name)
        except OSError:
            continue  # it has ended, or closed it
    raise AssertionError(f"no process has the run {run}")


# -- detached -------------------------------------------------------------------------------------


def test_a_detached_run_goes_on_by_itself(live: Project) -> None:
    answer = live.coopery("run", "--detach", "--json")
    assert answer.exit_code == 0, answer.stderr
    document = answer.json
    run = document["run"]
    jsonschema.validate(document, record_schema.schema())
    assert (document["state"], document["home"]) == ("running", str(live.home))
    *_, last = answer.stderr.splitlines()
    ways = f"coopery logs -f {run}; coopery status {run}; coopery stop {run}"
    assert last == f"to follow it: {ways}"
    assert answer.stderr.splitlines()[0].startswith("recipe.toml: runtime local")
    (found,) = until(lambda: running(live), lambda found: found and found[0]["steps"])
    assert found["run"] == run and found["steps"][0]["step"] == "wait"
    process = Path("/proc") / str(process_of(live, run))
    assert os.getsid(int(process.name)) == int(process.name) != os.getsid(0)
    stat = process.joinpath("stat").read_text().rpartition(")")[2].split()
    assert stat[4] == "0"  # it has no terminal
    links = [str(process.joinpath("fd", n).readlink()) for n in "012"]
    assert links == ["/dev/null", document["story"], document["story"]]
    live.write("gate", "")
    until(lambda: running(live), lambda found: not found)
    record = live.coopery("show", run, "--json").json
    assert (record["state"], record["exit_code"]) == ("ended", 0)
    story = until(Path(record["story"]).read_text, lambda text: f"(run {run})" in text)
    assert "start    wait" in story and "2 done in " in story and "\x1b" not in story
    assert f"story:    {record['story']}" in live.coopery("show", run).stdout


def test_its_exit_is_recorded_and_its_logs_are_followed(live: Project) -> None:
    run = detach(live, "--set", "quick.code=5")
    following = subprocess.Popen(
        [sys.executable, "-m", "coopery", "logs", "-f", run],
        cwd=live.root,
        env=live.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert following.stdout is not None
    early = sorted(following.stdout.readline() for _ in range(2))
    assert early == ["quick | quick\n", "wait  | begin\n"]
    live.write("gate", "")
    rest, told = following.communicate(timeout=DEADLINE)
    assert rest == "wait  | end\n" and "quick: failed" in told and following.returncode == 0
    end = f"run {run}: ended (exit code 1), 1 done, 1 failed: coopery show {run}"
    assert told.splitlines()[-1] == end
    until(lambda: running(live), lambda found: not found)
    assert "ended (exit code 1)" in live.coopery("status", run).stdout
    # Without -f, and with the beginning of its id, what all its tasks printed.
    text = live.coopery("logs", run[:-2]).stdout
    assert text.count("==>") == 2 and "begin\nend\n" in text and "quick\n" in text
    assert live.coopery("logs", run, "quick").stdout == "quick\n"
    assert live.coopery("logs", run, "--failed").stdout == "quick\n"
    assert live.coopery("logs", run, run).slugs == ("bad-command-line",)
    assert live.coopery("logs", run, "--run", run).slugs == ("bad-command-line",)


def test_two_at_once_and_stopping(live: Project) -> None:
    one, other = (detach(live, "wait", "--set", f"wait.gate={n}") for n in "ab")
    both = until(lambda: running(live), lambda found: all(f["steps"] for f in found))
    assert {found["run"] for found in both} == {one, other}
    stopped = live.coopery("stop", one, "--json").json
    assert (stopped["state"], stopped["exit_code"]) == ("interrupted", 130)
    assert [found["run"] for found in running(live)] == [other]
    process = process_of(live, other)
    os.kill(process, signal.SIGKILL)
    until(lambda: running(live), lambda found: not found)
    assert live.coopery("show", other, "--json").json["state"] == "killed"


def test_a_closed_terminal_does_not_end_it(live: Project) -> None:
    """The shell of a terminal that closes tells its jobs, the kernel its foreground."""
    script = f"{sys.executable} -m coopery run --detach wait > run; kill -HUP 0"
    subprocess.run(["sh", "-c", script], cwd=live.root, env=live.environment(),
                   start_new_session=True, check=False)  # fmt: skip
    run = live.read("run").strip()
    (found,) = until(lambda: running(live), lambda found: found and found[0]["steps"])
    assert found["run"] == run
    live.write("gate", "")
    until(lambda: running(live), lambda found: not found)
    assert live.coopery("show", run, "--json").json["exit_code"] == 0


WRONG: list[tuple[tuple[str, ...], dict[str, str], int, str]] = [
    (("nothing",), {}, 2, "unknown-target"),
    (("--locked", "-f", "locked.toml"), {}, 2, "lock-outdated"),
    (("--capacity", "x"), {}, 2, "bad-option"),
    (("--set", "quick.no=1"), {}, 2, "unknown-param"),
    (("-f", "broken.toml"), {}, 2, "invalid-toml"),
    (("-f", "based.toml", "-r", "docker"), {"DOCKER_HOST": "unix:///nowhere"}, 3, "no-engine"),
    (("--home", "/dev/null/x"), {}, 3, "home-unusable"),
    (("--only",), {}, 2, "bad-command-line"),
    (("--dry-run",), {}, 2, "bad-command-line"),
    (("--watch",), {}, 2, "bad-command-line"),
    (("--junit", "."), {}, 2, "not-writable"),
    (("--output", "recipe.toml"), {}, 2, "no-run-file"),
    (("--exit-code", "task"), {}, 2, "one-task"),
]


@pytest.mark.parametrize(("arguments", "env", "code", "slug"), WRONG, ids=lambda x: str(x)[:30])
def test_what_is_wrong_before_it_begins_is_told_by_the_command(
    live: Project, arguments: tuple[str, ...], env: dict[str, str], code: int, slug: str
) -> None:
    image = '[image.i]\npackages = ["six"]\n[task.a]\nimage = "i"\ncommand = "true"\n'
    live.write("locked.toml", image)
    live.write("based.toml", image.replace('packages = ["six"]\n', ""))
    live.write("broken.toml", "[task\n")
    answer = live.coopery("run", "--detach", *arguments, env=env)
    assert (answer.exit_code, answer.slugs) == (code, (slug,)), answer.stderr
    assert answer.stdout == ""
    if "--detach" not in answer.stderr:
        assert answer.told(slug) == live.coopery("run", *arguments, env=env).told(slug)
    assert running(live) == []


def test_interrupted_while_it_starts_both_end(live: Project) -> None:
    live.plugin(
        "slow",
        """
        import os, time
        from coopery.hooks import hookimpl

        @hookimpl
        def check(recipe, runtime):
            open("checking", "w").write(str(os.getpid()))
            time.sleep(60)
            return ()
        """,
    )
    process = live.start("run", "--detach")
    child = int(until(lambda: live.root.joinpath("checking").exists() and live.read("checking")))
    assert child != process.pid
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (130, "") and told.endswith("interrupted\n")
    assert not Path(f"/proc/{child}").exists()
    shutil.rmtree(live.site)
    assert live.coopery("runs").stdout == "no run is kept\n"


def test_a_process_that_is_killed_before_it_begins_is_told(live: Project) -> None:
    live.plugin(
        "killing",
        """
        import os
        from coopery.hooks import hookimpl

        @hookimpl
        def check(recipe, runtime):
            os.kill(os.getpid(), 9)
        """,
    )
    answer = live.coopery("run", "--detach")
    assert (answer.exit_code, answer.slugs) == (3, ("run-lost",)) and "SIGKILL" in answer.stderr
    shutil.rmtree(live.site)


def told_of_it(project: Project) -> list[str]:
    """The processes of a project that were started with the variable of a detached run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = folder.joinpath("environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(project.home) in environ and b"COOPERY_DETACHED_BY" in environ:
            found.append(folder.name)
    return found


def test_nothing_of_it_is_told_that_was_not_said(live: Project) -> None:
    """Its command line is the user's, and no task inherits what the two say to each other."""
    live.write(
        "recipe.toml",
        live.read("recipe.toml") + 'secrets.TOKEN = { secret = "T", as = "variable" }\n',
    )
    env = {"T": "sesame-open-sesame"}
    answer = live.coopery("run", "--detach", "--set", "quick.code=0", env=env)
    run = answer.stdout.strip()
    process = Path("/proc") / str(process_of(live, run))
    words = process.joinpath("cmdline").read_bytes().split(b"\0")[:-1]
    assert words[-5:] == [b"coopery", b"run", b"--detach", b"--set", b"quick.code=0"]
    assert b"sesame" not in b" ".join(words)
    until(lambda: running(live), lambda found: found and found[0]["steps"])
    # Between fork and exec, a process that is started shows what the run began with as well.
    until(lambda: told_of_it(live), lambda found: found == [process.name])
    live.write("gate", "")
    until(lambda: running(live), lambda found: not found)
    everything = b"".join(p.read_bytes() for p in live.home.rglob("*") if p.is_file())
    assert b"sesame" not in everything


# -- run files ------------------------------------------------------------------------------------


def test_a_run_file_tells_and_finds_from_anywhere(live: Project) -> None:
    run = detach(live, "wait", "--output", "out/run.json")
    file = live.root / "out" / "run.json"
    early = json.loads(file.read_bytes())
    jsonschema.validate(early, record_schema.schema())
    assert (early["run"], early["home"], early["state"]) == (run, str(live.home), "running")
    assert early["targets"] == ["wait"] and "exit_code" not in early
    (found,) = outside(live, "status", str(file), "--json").json["running"]
    assert found["run"] == run and found["task"]["step"] == "wait"
    assert outside(live, "show", str(file), "--json").json["state"] == "running"
    stopped = outside(live, "stop", str(file), "--json").json
    assert (stopped["run"], stopped["state"]) == (run, "interrupted")
    late = json.loads(file.read_bytes())
    jsonschema.validate(late, record_schema.schema())
    record = live.coopery("show", run, "--json").json
    assert late == {**record, "home": str(live.home)}
    assert outside(live, "logs", str(file)).stdout == "begin\n"
    assert outside(live, "logs", "wait", "--run", str(file)).stdout == "begin\n"
    assert outside(live, "logs", "-f", str(file), "wait").stdout == "begin\n"
    assert "interrupted (exit code 130)" in outside(live, "status", str(file)).stdout
    assert run in outside(live, "report", str(file)).stdout
    assert outside(live, "stop", str(file)).slugs == ("not-running",)
    # Not even the user's own home folder was made for that.
    assert not live.home.with_name("nobody").exists()
    # Nor is anything but a run meant by the path of an output.
    assert live.coopery("logs", "out/run.txt").slugs == ("unknown-target",)


def test_a_run_that_is_not_detached_writes_one_too(live: Project) -> None:
    answer = live.coopery("run", "quick", "--set", "quick.code=3", "--output", "run.json", "--json")
    assert answer.exit_code == 1
    document = json.loads(live.read("run.json"))
    assert document == {**answer.json, "home": str(live.home)}
    (step,) = document["steps"]
    assert step["facts"]["exit_code"] == 3 and step["facts"]["peak_memory"] > 0
    # The next run takes its place, also in a file that was made empty.
    live.write("run.json", "")
    live.coopery("run", "quick", "--output", "run.json")
    assert json.loads(live.read("run.json"))["exit_code"] == 0
    live.coopery("run", "quick", "--output", "run.json", "--set", "quick.code=4")
    assert json.loads(live.read("run.json"))["exit_code"] == 1
    text = live.coopery("status", "run.json").stdout
    assert text.splitlines()[1].startswith("  quick: failed, exit code 4, held ")
    (task,) = [live.coopery("status", "run.json", "--json").json["latest"]["task"]]
    assert (task["state"], task["exit_code"]) == ("failed", 4)
    assert task["problems"][0]["slug"] == "task-failed"


def test_a_run_file_that_cannot_be_written_at_the_end(live: Project) -> None:
    """What was done is done, recorded and told all the same."""
    out = live.root / "out"
    command = f"rm -r {out}; echo > {out}"
    live.write("recipe.toml", f"[task.a]\ncommand = '{command}'\n")
    answer = live.coopery("run", "--output", "out/run.json", "--junit", "junit.xml")
    assert (answer.exit_code, answer.slugs) == (3, ("not-writable",)), answer.stderr
    assert "1 done in " in answer.stderr and (live.root / "junit.xml").exists()
    assert live.coopery("show", "--json").json["state"] == "ended"


def test_a_later_run_keeps_the_file(live: Project) -> None:
    first = detach(live, "wait", "--output", "run.json")
    second = detach(live, "wait", "--set", "wait.gate=other", "--output", "run.json")
    live.write("gate", "")
    until(lambda: running(live), lambda found: len(found) == 1)
    assert json.loads(live.read("run.json"))["run"] == second
    story = Path(live.coopery("show", first, "--json").json["story"]).read_text()
    assert f"run.json tells of run {second} by now" in story
    live.write("other", "")
    live.coopery("stop", second)


def test_when_the_home_is_gone_the_file_is_what_is_left(live: Project) -> None:
    live.coopery("run", "quick", "--output", "run.json")
    run = detach(live, "wait", "--output", "dead.json")
    os.kill(process_of(live, run), signal.SIGKILL)
    until(lambda: running(live), lambda found: not found)
    file, dead = str(live.root / "run.json"), str(live.root / "dead.json")
    moved = live.home.rename(live.home.with_name("moved"))
    answer = outside(live, "status", file)
    assert "ended (exit code 0)" in answer.stdout and f"{live.home} is gone" in answer.stderr
    assert outside(live, "status", dead, "--json").json["latest"]["state"] == "killed"
    assert outside(live, "show", file, "--json").json == json.loads(live.read("run.json"))
    for command in ("stop", "logs"):
        answer = outside(live, command, file)
        assert (answer.exit_code, answer.slugs) == (2, ("unknown-run",)), answer.stderr
        assert f"{live.home} is gone" in answer.told("unknown-run")
    assert not live.home.exists()
    # Moved elsewhere, it is found where a flag says.
    assert outside(live, "logs", file, "--home", str(moved)).stdout == "quick\n"
    shutil.rmtree(moved / "runs" / json.loads(live.read("run.json"))["run"])
    answer = outside(live, "status", file, "--home", str(moved))
    assert "ended" in answer.stdout and "does not have it any more" in answer.stderr
    moved.rename(live.home)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "it is no JSON"),
        ("", "it is empty"),
        ("[1]", "it holds no object"),
        ('{"run": 1}', "it does not say `run`"),
        ('{"run": "a", "schema": 2}', "it does not say `home`"),
        ('{"run": "a", "home": "b"}', "`home` is no absolute path"),
        ('{"run": "a", "home": "/", "schema": 2}', "is not as it should be"),
    ],
)
def test_a_file_that_is_none(live: Project, text: str, told: str) -> None:
    live.write("x.json", text)
    before = live.read("x.json")
    for command in (["status"], ["show"], ["stop"], ["report"], ["logs", "quick", "--run"]):
        answer = live.coopery(*command, "x.json")
        assert (answer.exit_code, answer.slugs) == (2, ("no-run-file",)), command
        assert told in answer.told("no-run-file")
    if text:
        answer = live.coopery("run", "quick", "--output", "x.json")
        assert (answer.exit_code, answer.slugs) == (2, ("no-run-file",))
        assert told in answer.stderr and live.read("x.json") == before
        assert live.coopery("runs").stdout == "no run is kept\n"


def test_paths_that_cannot_be_written_or_read(live: Project) -> None:
    (live.root / "folder").mkdir()
    wrong = {"folder": "not-writable", "recipe.toml/y/x": "not-writable", "": "bad-option"}
    wrong |= {"recipe.toml": "no-run-file", "recipe.toml/x": "not-writable"}
    wrong |= {"/dev/null": "no-run-file", "dangling.json": "no-run-file"}
    (live.root / "dangling.json").symlink_to("/proc/no/where")
    os.mkfifo(live.root / "pipe.json")
    wrong |= {"pipe.json": "no-run-file"}
    assert live.coopery("status", "pipe.json").slugs == ("no-run-file",)
    for name, slug in wrong.items():
        answer = live.coopery("run", "quick", "--output", name)
        assert (answer.exit_code, answer.slugs) == (2, (slug,)), (name, answer.stderr)
    assert live.coopery("runs").stdout == "no run is kept\n"
    assert live.coopery("status", "nowhere.json").slugs == ("unknown-run",)
    assert live.coopery("status", "./nowhere").slugs == ("unknown-run",)
    assert live.coopery("status", "folder/").slugs == ("no-run-file",)
    answer = live.coopery("run", "quick", "--output", "x.json", "--dry-run")
    assert answer.slugs == ("bad-command-line",)
    document = {"schema": 99, "run": "a", "home": "/"}
    live.write("new.json", json.dumps(document))
    answer = live.coopery("status", "new.json")
    assert (answer.exit_code, answer.slugs) == (3, ("run-format",))


def test_no_folder_is_made_a_home_by_a_file_that_names_it(live: Project) -> None:
    live.coopery("run", "quick", "--output", "run.json")
    document = json.loads(live.read("run.json"))
    other = live.root / "other"
    other.mkdir()
    live.write("run.json", json.dumps({**document, "home": str(other)}))
    assert "is gone" in live.coopery("status", "run.json").stderr
    assert list(other.iterdir()) == []


def test_secrets_stay_out_of_run_files(live: Project) -> None:
    live.write(
        "recipe.toml",
        """
        [task.a]
        command = "echo $TOKEN; exit 3"
        secrets.TOKEN = { secret = "T", as = "variable" }
        """,
    )
    arguments = ("run", "--output", "run.json", "--json")
    assert live.coopery(*arguments, env={"T": "sesame-open-sesame"}).exit_code == 1
    text = live.read("run.json")
    assert "sesame" not in text and '"T"' in text
