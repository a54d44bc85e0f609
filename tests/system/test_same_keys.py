"""Functions have one key, whoever plans them, wherever, and in whatever order (row Q9)."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

HEAD = """
import functools
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from coopery import Input, Output, task
import helpers

LIMITS = {"low": 1, "high": [2, {3, 1, 2}]}
PATTERN = re.compile(r"a+")


class Kind(Enum):
    ONE = 1
    TWO = 2


@dataclass
class Model:
    weights: tuple = (1.0, float("inf"))
    kind: Kind = Kind.ONE
    names: frozenset = frozenset({"x", "y", "z"})
    rest: dict = field(default_factory=dict)


def twice(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        function(*args, **kwargs)
        return function(*args, **kwargs)
    return call


def scaled(factor):
    return lambda value: value * factor + len(LIMITS["high"])


by_three = scaled(3)
"""
TASKS = [
    """
@task(outputs={"out": "out/closure.txt"})
def closure(out, n: int = 4):
    out.write_text(str(by_three(n)) + str(sorted(LIMITS)))
""",
    """
@task(outputs={"value": Output(returns="json")})
@twice
def decorated(kind: str = "ONE"):
    return [Kind[kind].value, bool(PATTERN.match("aa")), helpers.halve(8)]
""",
    """
def made(model=Model()):
    return sorted(model.names) + [model.kind.name]

@task(inputs={"value": Input(origin="decorated.value", load="json")}, outputs={"out": "out/c.txt"})
def classes(value, out):
    out.write_text(repr((made(), value, Model().weights)))
""",
    """
task(name="nameless", outputs={"value": Output(returns="json")})(lambda: max(LIMITS["high"][1]))
""",
    """
@task(matrix={"n": [1, 2]}, outputs={"out": "out/{matrix.n}.txt"})
def several(n, out):
    out.write_text(str(helpers.halve(n)))
""",
]
HELPERS = """
TABLE = {"by": 2}

def halve(n):
    return n / TABLE["by"]
"""


def keys_of(top: Path, name: str, order: list[int], user: str | None, **env: str) -> dict[str, Any]:
    """The keys of all tasks, as a run by somebody, in a folder of their own, has them.

    Another user only looks ahead, and so knows nothing of what depends on a result.
    """
    root = top / name / "project"
    root.mkdir(parents=True)
    noise = "".join(f"# {name}\n" for _ in range(order[0]))
    (root / "recipe.py").write_text(HEAD + noise + "".join(TASKS[index] for index in order))
    (root / "helpers.py").write_text(noise + HELPERS)
    command = [sys.executable, "-m", "coopery", "run", "--json"]
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(top / name),
        "COOPERY_HOME": str(top / name / "coopery"),
        **env,
    }
    if user is not None:
        who = pwd.getpwnam(user)
        for path in (top / name, *(top / name).rglob("*")):
            os.chown(path, who.pw_uid, who.pw_gid)
        # They may read what root may, as Python's own files.
        able = ["setpriv", "--reuid", user, "--regid", str(who.pw_gid), "--clear-groups"]
        able += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
        command = [*able, *command, "--dry-run"]
    done = subprocess.run(
        command, cwd=root, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["steps"]
    return {step["step"]: step["key"] for step in steps if step["key"]}


def test_other_processes_machines_users_and_orders_have_the_same_keys() -> None:
    users = ("daemon", "nobody") if os.geteuid() == 0 else (None, None)
    top = Path(tempfile.mkdtemp(prefix="coopery-keys-"))
    top.chmod(0o755)
    try:
        first = keys_of(top, "a", [0, 1, 2, 3, 4], None, PYTHONHASHSEED="1")
        assert len(first) == 6 and len({*first.values()}) == 6
        for name, order, user, env in (
            ("b/deeper down", [4, 3, 1, 0, 2], users[0], {"PYTHONHASHSEED": "2", "TZ": "UTC+3"}),
            ("ünlich", [2, 1, 4, 3, 0], users[1], {"PYTHONHASHSEED": "77", "LC_ALL": "C"}),
        ):
            found = keys_of(top, name, order, user, **env)
            assert found == {step: first[step] for step in found} and len(found) >= 5
    finally:
        shutil.rmtree(top)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scaled(3)", "scaled(5)"),
        ('"high": [2, {3, 1, 2}]', '"high": [2, {3, 1, 4}]'),
        ('"by": 2', '"by": 4'),
        ('frozenset({"x", "y", "z"})', 'frozenset({"x", "y"})'),
        ('r"a+"', 'r"b+"'),
    ],
)
def test_what_a_function_captures_is_in_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    """And in no other's."""
    order = [0, 1, 2, 3, 4]
    before = keys_of(tmp_path, "before", order, None)
    monkeypatch.setitem(globals(), "HEAD", HEAD.replace(old, new))
    monkeypatch.setitem(globals(), "HELPERS", HELPERS.replace(old, new))
    after = keys_of(tmp_path, "after", order, None)
    changed = {name.partition("@")[0] for name in before if before[name] != after[name]}
    touched = {
        "scaled(3)": {"closure"},
        '"high": [2, {3, 1, 2}]': {"closure", "nameless"},
        '"by": 2': {"decorated", "classes", "several"},
        'frozenset({"x", "y", "z"})': {"classes"},
        'r"a+"': {"decorated", "classes"},
    }
    assert changed <= touched[old] and changed
