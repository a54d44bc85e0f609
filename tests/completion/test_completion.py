"""Completion: what may stand at the cursor, and how real shells take it."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from coopery.testing import Project
from coopery_completion.lines import replacement, split

RECIPE = """
[image.tools]
description = "Tools"

[task.prepare]
description = "Make the table"
image = "tools"
command = "echo 1 > {outputs.table}"
params.depth = 3
outputs.table = "build/table.csv"

[task.fit]
matrix.fold = [0, 10, "a b"]
matrix.kind = ["x"]
command = "cp {inputs.table} {outputs.model}"
inputs.table = { from = "prepare.table" }
outputs.model = "build/{matrix.fold}-{matrix.kind}/model"
outputs.notes = {}
"""
ONE = """
[task.one]
command = 'true'
"""
BREAKS = " \t\n\"'@><=;|&(:"
DEADLINE = 30.0


@pytest.fixture
def recipe(project: Project) -> Project:
    project.write("recipe.toml", RECIPE)
    return project


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("graph --format", "text mermaid dot svg"),
        ("graph --state", "last forecast"),
        ("report --format", "html junit"),
        ("cache", "info gc verify"),
    ],
)
def test_what_is_one_of_a_few(recipe: Project, words: str, found: str) -> None:
    assert ask(recipe, *words.split(), "") == ("words", found.split())
    first = found.split()[0]
    assert ask(recipe, *words.split(), first[:2]) == ("words", [first])
    wrong = recipe.coopery(*words.split(), f"{first}x")
    assert wrong.exit_code == 2
    assert f"did you mean {first!r}?" in wrong.told("bad-command-line")


def ask(project: Project, *words: str, shell: str = "zsh") -> tuple[str, list[str]]:
    """What a shell's script is told: the kind of answer, and the candidates."""
    done = subprocess.run(
        [sys.executable, "-m", "coopery", "completion", shell, "--answer"],
        cwd=project.root,
        env={**os.environ, "COOPERY_HOME": str(project.home)},
        input="".join(f"{word}\0" for word in words),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    kind, *lines = done.stdout.split("\n")[:-1]
    return kind, [line.partition("\t")[0] for line in lines]


def test_commands_and_flags(recipe: Project) -> None:
    assert {"run", "list", "completion", "why"} <= set(ask(recipe, "")[1])
    assert ask(recipe, "val")[1] == ["validate"]
    assert ask(recipe, "--wi")[1] == ["--without"]
    assert {"lock", "toml"} <= set(ask(recipe, "--without", "")[1])
    assert ask(recipe, "--without", "lock", "run", "--dry")[1] == ["--dry-run"]
    assert ask(recipe, "run", "-j", "2", "--force-")[1] == ["--force-all"]
    assert ask(recipe, "nonsense", "") == ("words", [])
    assert ask(recipe, "completion", "") == ("words", ["bash", "zsh", "fish"])
    assert ask(recipe, "run", "-r", "")[1] == ["docker", "local"]
    assert ask(recipe, "run", "--runtime=l")[1] == ["--runtime=local"]
    assert ask(recipe, "run", "-f", "")[0] == ask(recipe, "run", "--file=x")[0] == "files"
    assert ask(recipe, "run", "--home", "")[0] == "folders"
    assert ask(recipe, "run", "--", "--dry") == ("words", [])
    assert ask(recipe, "get", "fit.model", "")[0] == "files"


def test_tasks_instances_and_destinations(recipe: Project) -> None:
    instances = ["fit@fold=0,kind=x", "fit@fold=10,kind=x", "fit@fold=a%20b,kind=x"]
    assert ask(recipe, "run", "")[1] == ["prepare", "fit", *instances]
    assert ask(recipe, "why", "prepare", "fit@fold=1")[1] == [instances[1]]
    assert ask(recipe, "logs", "-f", "fit[fold=0")[1] == ["fit[fold=0,kind=x]"]
    assert ask(recipe, "run", "build/t")[1] == ["build/table.csv"]
    assert ask(recipe, "run", "./build/1")[1] == ["./build/10-x/model"]
    assert ask(recipe, "run", f"{recipe.root}/build/t")[1] == [f"{recipe.root}/build/table.csv"]
    kind, found = ask(recipe, "run", "--set", "")
    assert (kind, found) == ("open", ["prepare.depth="])


def test_runs_and_run_files(recipe: Project) -> None:
    recipe.write("other.json", "{}")
    (recipe.root / "out").mkdir()
    for name in ("run.json", "out/later.json"):
        recipe.coopery("run", "--output", name, "-f", recipe.write("one.toml", ONE).name)
    ids = [run["run"] for run in recipe.coopery("runs", "--all", "--json").json]
    assert len(ids) == 2
    assert sorted(ask(recipe, "status", "")[1]) == sorted([*ids, "run.json"])
    assert ask(recipe, "show", "ru") == ("words", ["run.json"])
    assert ask(recipe, "stop", "o") == ("words", [])
    assert ask(recipe, "status", "./o") == ("open", ["./out/"])
    assert ask(recipe, "status", "out/")[1] == ["out/later.json"]
    assert ask(recipe, "report", f"{recipe.root}/r")[1] == [f"{recipe.root}/run.json"]
    assert ask(recipe, "logs", "-f", "ru")[1] == ["run.json"]
    assert sorted(ask(recipe, "logs", ids[0][:8])[1]) == sorted(ids)
    assert ask(recipe, "logs", "-f", "prep")[1] == ["prepare"]
    assert ask(recipe, "logs", "prepare", "--run", "r")[1] == ["run.json"]
    assert ask(recipe, "status", "nowhere/x") == ask(recipe, "status", "~nobody/x")
    assert ask(recipe, "run", "--output", "")[0] == "files"
    assert ask(recipe, "run", "--exit-code", "") == ("words", ["run", "task"])


def test_many_instances_wait_for_their_task(project: Project) -> None:
    task = "[task.{}]\nmatrix.n = {}\ncommand = 'true'\n"
    numbers = list(range(90))
    project.write("recipe.toml", task.format("one", numbers) + task.format("other", numbers))
    assert ask(project, "run", "o")[1] == ["one", "other"]
    assert len(ask(project, "run", "ot")[1]) == 91
    assert len(ask(project, "run", "one@n=1")[1]) == 11


def test_channels(recipe: Project) -> None:
    assert ask(recipe, "get", "")[1] == ["prepare.table", "fit.model", "fit.notes"]
    assert ask(recipe, "get", "fit.n")[1] == ["fit.notes"]
    assert ask(recipe, "get", "fit@fold=10,kind=x.")[1] == [
        "fit@fold=10,kind=x.model",
        "fit@fold=10,kind=x.notes",
    ]


def test_runs_and_home_folders_that_are_not_there(recipe: Project) -> None:
    recipe.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    assert ask(recipe, "show", "") == ("words", [])
    assert not recipe.home.exists()
    run = recipe.coopery("run", "--json").json["run"]
    assert ask(recipe, "show", run[:4])[1] == [run]
    assert ask(recipe, "logs", "a", "--run", "")[1] == [run]
    assert ask(recipe, "stop", "") == ("words", [])
    assert ask(recipe, "show", "--home", "/nowhere", "") == ("words", [])


def test_the_named_recipe_counts(recipe: Project) -> None:
    recipe.write("other/recipe.toml", "[task.there]\ncommand = 'true'\n")
    assert ask(recipe, "run", "-f", "other", "")[1] == ["there"]
    assert ask(recipe, "run", "--file=other/recipe.toml", "")[1] == ["there"]
    assert ask(recipe, "run", "-f", "none.toml", "") == ("words", [])


def test_wrong_recipes_offer_what_can_be_read_and_print_nothing(project: Project) -> None:
    assert ask(project, "run", "") == ("words", [])
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\nretires = 1\n")
    assert ask(project, "run", "") == ("words", ["a"])
    project.write("recipe.toml", "[task.a\n")
    assert ask(project, "run", "") == ("words", [])
    (project.root / "recipe.toml").unlink()
    project.write(
        "recipe.py",
        """
        import os, sys
        from coopery import command
        print("noise"); print("noise", file=sys.stderr); os.system("echo noise")
        command("made", "true")
        """,
    )
    assert ask(project, "run", "") == ("words", ["made"])
    project.write("recipe.py", "raise SystemExit(3)\n")
    assert ask(project, "run", "") == ("words", [])


@pytest.mark.parametrize(
    ("line", "words", "quote"),
    [
        ("coopery run fit@fold=0", ("coopery", "run", "fit@fold=0"), ""),
        ("coopery ", ("coopery", ""), ""),
        ("a 'b c' d\\ e \"f", ("a", "b c", "d e", "f"), '"'),
        ("a ''", ("a", ""), ""),
        ('a "x\\"y\\z', ("a", 'x"y\\z'), '"'),
    ],
)
def test_lines_are_cut_as_bash_does(line: str, words: Sequence[str], quote: str) -> None:
    found = split(line)
    assert (found.words, found.quote) == (tuple(words), quote)


def test_bash_is_given_what_follows_the_last_break() -> None:
    def given(candidate: str, line: str) -> str:
        return replacement(candidate, split(line), BREAKS)

    assert given("fit@fold=10", "coopery run fit@fo") == "@fold=10"
    assert given("fit@fold=10", "coopery run fit@fold=1") == "10"
    assert given("fit@fold=10", "coopery run 'fit@fo") == "fit@fold=10"
    assert given("--file=a:b c", "coopery run --file=a:b") == "b\\ c"
    assert given("x", "coopery ") == "x"


class Terminal:
    """A real shell on a terminal of its own."""

    def __init__(self, shell: Sequence[str], project: Project) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        env |= {"PATH": path, "TERM": "xterm", "LANG": "C.UTF-8", "HOME": str(project.root)}
        env |= {"COOPERY_HOME": str(project.home)}
        self._here, there = pty.openpty()
        self._process = subprocess.Popen(
            shell,
            cwd=project.root,
            env=env,
            preexec_fn=lambda: os.login_tty(there),  # fish wants to lead its session
        )
        os.close(there)
        self._seen = ""

    def type(self, keys: str, marker: str) -> str:
        """Type, and wait until the marker was printed; all that was printed until then."""
        os.write(self._here, keys.encode())
        deadline = time.monotonic() + DEADLINE
        while marker not in self._seen:
            assert time.monotonic() < deadline, self._seen
            if select.select([self._here], [], [], 0.1)[0]:
                self._seen += os.read(self._here, 65536).decode("utf-8", "replace")
            assert self._process.poll() is None, self._seen
        found, _, self._seen = self._seen.partition(marker)
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._here)


SHELLS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        "source <(coopery completion bash); bind 'set bell-style none'",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        "unsetopt zle_bracketed_paste; bindkey -e; autoload -U compinit; compinit -D -u; "
        "source <(coopery completion zsh)",
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        "coopery completion fish | source",
    ),
}
SHOW = {
    "bash": 'show() { printf "[%s]" "$@" end; echo; }',
    "zsh": 'show() { printf "[%s]" "$@" end; echo; }',
    "fish": "function show; printf '[%s]' $argv end; echo; end",
}


TYPED = [
    ("coopery valid\t", ["coopery", "validate"]),
    ("coopery run pre\t", ["coopery", "run", "prepare"]),
    ("coopery run fit@fold=1\t", ["coopery", "run", "fit@fold=10,kind=x"]),
    ("coopery run solo@\t", ["coopery", "run", "solo@n=7"]),
    ("coopery run solo@n\t", ["coopery", "run", "solo@n=7"]),
    ("coopery get 'solo[n\t", ["coopery", "get", "solo[n=7].o"]),
    ("coopery run 'fit@fold=1\t", ["coopery", "run", "fit@fold=10,kind=x"]),
    ("coopery run prepare 'fit[fold=1\t", ["coopery", "run", "prepare", "fit[fold=10,kind=x]"]),
    ("coopery get fit@fold=10,kind=x.n\t", ["coopery", "get", "fit@fold=10,kind=x.notes"]),
    ("coopery run --runtime=l\t", ["coopery", "run", "--runtime=local"]),
    ("coopery run --set pre\t9", ["coopery", "run", "--set", "prepare.depth=9"]),
    ("coopery run -f oth\t", ["coopery", "run", "-f", "other.toml"]),
    ("coopery run --file=oth\t", ["coopery", "run", "--file=other.toml"]),
    ("coopery run -f a:b.toml on\t", ["coopery", "run", "-f", "a:b.toml", "only"]),
]


@pytest.mark.parametrize("shell", SHELLS)
def test_in_a_real_shell(shell: str, recipe: Project) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    recipe.write("a:b.toml", "[task.only]\ncommand = 'true'\n")
    recipe.write("other.toml", RECIPE)
    solo = "[task.solo]\nmatrix.n = [7]\ncommand = 'true'\noutputs.o = {}\n"
    recipe.write("recipe.toml", f"{recipe.read('recipe.toml')}\n{solo}")
    command, setup = SHELLS[shell]
    terminal = Terminal(command, recipe)
    try:
        terminal.type(f"{setup}; {SHOW[shell]}; echo set''up\r", "setup\r\n")
        for typed, words in TYPED:
            # The shell prints the words that it would have called coopery with.
            seen = terminal.type(f"{typed}\x01show \r", "[end]")
            assert seen.endswith("".join(f"[{word}]" for word in words)), (typed, seen)
    finally:
        terminal.close()
