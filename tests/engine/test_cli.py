"""The command line's parser: one command's arguments are made, and all commands are known."""

from __future__ import annotations

import pytest

from coopery.cli import main

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


def test_an_unknown_flag_of_a_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--jsno"]) == 2
    assert "unrecognized arguments: --jsno" in capsys.readouterr().err
