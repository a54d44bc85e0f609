"""The command line's parser: one command's arguments are made, and all commands are known."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from coopery.cli import main
from coopery.testing import Project

COMMANDS = ("get", "graph", "init", "list", "lock", "logs", "run", "show", "validate", "why")


@pytest.mark.parametrize("arguments", [["--help"], ["-h", "list"]])
def test_help_names_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(f"\n    {name} " in said for name in COMMANDS), said


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    said = capsys.readouterr().out
    assert all(f"\n    {name} " in said for name in COMMANDS), said


def test_help_of_a_command_shows_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: coopery run ")
    assert all(flag in said for flag in ("--file", "--json", "--jobs", "--quiet", "--set"))


def test_a_mistyped_command_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lits"]) == 2
    said = capsys.readouterr().err
    assert "there is no command 'lits'" in said
    assert "did you mean 'list'?" in said


@pytest.mark.parametrize(
    "flags", [("--home", ""), ("--home="), ("-r", ""), ("-f", ""), ("--report", "")]
)
def test_an_empty_value_is_none(project: Project, flags: tuple[str, ...]) -> None:
    """As of a variable of a script that is not set: the project's folder is no home."""
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    words = [flags] if isinstance(flags, str) else flags
    answer = project.coopery("run", *words)
    assert answer.exit_code == 2 and "empty" in answer.told("bad-option")
    assert {path.name for path in project.root.iterdir()} == {"recipe.toml"}


def test_an_empty_key_is_none(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    project.write("pyproject.toml", "[tool.coopery]\nruntime = ''\n")
    told = project.coopery("run").told("bad-option")
    assert "pyproject.toml:2" in told and "it is empty" in told


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize(
    "command", ["list", "run --json", "graph", "logs a", "report", "completion bash"]
)
def test_a_full_stdout_is_told_as_such(project: Project, command: str, buffered: str) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'echo x'\n")
    project.run()
    done = said(project, f"{command} > /dev/full", PYTHONUNBUFFERED=buffered)
    assert done.returncode == 3
    (error,) = re.findall("^error: .*", done.stderr, re.MULTILINE)
    assert error.endswith("stdout: No space left on device [no-stdout]")
    assert "plugin" not in done.stderr and "Exception" not in done.stderr


def test_a_closed_stdout_is_told_before_anything_runs(project: Project) -> None:
    project.write("recipe.toml", f"[task.a]\ncommand = 'touch {project.root}/ran'\n")
    for redirected in (">&-", "<&- >&-"):
        done = said(project, f"run --json {redirected}")
        assert done.returncode == 3 and "[no-stdout]" in done.stderr
        assert not (project.root / "ran").exists()
        done = said(project, f"list {redirected}")
        assert done.returncode == 3 and "[no-stdout]" in done.stderr
    # Who wants no answer needs no stdout.
    done = said(project, "run >&-")
    assert done.returncode == 0 and "1 done" in done.stderr


def test_a_reader_that_went_away_is_no_news(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    assert said(project, "list | true").stderr == ""


def said(project: Project, words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Call the command from a shell."""
    return subprocess.run(
        ["sh", "-c", f"{sys.executable} -m coopery {words}"],
        cwd=project.root,
        env=project.environment(env),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def test_an_unknown_flag_of_a_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--jsno"]) == 2
    assert "unrecognized arguments: --jsno" in capsys.readouterr().err
