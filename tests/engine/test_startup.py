"""What may be imported at start: a command pays for what it needs, and for nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from coopery.testing import Project

RECORD = Path(__file__).with_name("imports-at-start.txt")
CODE = """
import json, sys
before = set(sys.modules)
sys.argv = ["coopery", *sys.argv[1:]]
from coopery.cli import main
code = main()
print(json.dumps([code, sorted(set(sys.modules) - before)]), file=sys.stderr)
"""


def allowed() -> dict[str, set[str]]:
    """By command, what the record allows it; each heading has all that is under those above it."""
    found: dict[str, set[str]] = {}
    names: set[str] = set()
    for line in map(str.strip, RECORD.read_text("utf-8").splitlines()):
        if line.startswith("["):
            names = found[line.strip("[]")] = set(names)
        elif line and not line.startswith("#"):
            names.update(line.split())
    return found


def imported(project: Project, *arguments: str) -> set[str]:
    """What a call imports: modules of coopery by their names, others by their package's.

    Modules with a leading underscore are left out: what they are differs between Pythons.
    """
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    code, names = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    tops = {name if name.startswith("coopery") else name.partition(".")[0] for name in names}
    return {name for name in tops if not name.startswith("_")}


@pytest.mark.parametrize("command", ["--version", "list"])
def test_only_what_the_record_allows_is_imported(project: Project, command: str) -> None:
    tasks = [f"[task.t{n}]\ncommand = 'true'\noutputs.o = 'build/{n}'\n" for n in range(10)]
    project.write("recipe.toml", "\n".join(tasks))
    known = allowed()[command]
    new = imported(project, command) - known
    assert not new, f"imported at start, and not in {RECORD.name}: {sorted(new)}"


def test_the_record_names_nothing_that_is_gone(project: Project) -> None:
    import importlib.util

    names = set().union(*allowed().values())
    gone = {name for name in names if importlib.util.find_spec(name) is None}
    assert not gone


def test_one_more_import_is_noticed(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    project.plugin("greedy", "import sqlite3\n")
    assert imported(project, "list") - allowed()["list"] == {"greedy", "sqlite3", *_with_sqlite()}


def _with_sqlite() -> set[str]:
    """What importing sqlite3 alone brings in beyond what `list` may."""
    code = "import sys; b = set(sys.modules); import sqlite3; print(*sorted(set(sys.modules) - b))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    tops = {name.partition(".")[0] for name in done.stdout.split()}
    return {t for t in tops if not t.startswith("_")} - allowed()["list"] - {"sqlite3"}


def test_testing_needs_no_pytest_until_a_suite_is_used() -> None:
    code = "import sys, coopery.testing; print(sorted({'pytest', 'pluggy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
