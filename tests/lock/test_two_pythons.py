"""One lock for colleagues whose coopery runs on different Pythons: an entry for each of these."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coopery.errors import RecipeError
from coopery.options import LockPolicy

OTHER = "3.12" if sys.version_info[:2] == (3, 11) else "3.11"


def pythons(bench: Any) -> list[str]:
    """The Pythons of the lock's entries."""
    lines = bench.lock_text.splitlines()
    return [line.split("'")[1] for line in lines if line.startswith("python = ")]


def test_another_python_adds_an_entry_and_leaves_the_first_alone(bench: Any, wheel: Any) -> None:
    bench.image("alpha", python=None)
    bench.lock()
    ours = bench.lock_text
    wheel(bench.index, "alpha", "3.0")
    bench.host = "3.12"
    # What fits there too stays in its version: the two shall differ as little as they can.
    assert [pin.version for pin in bench.lock().pins["a"]] == ["2.0"]
    assert pythons(bench) == ["3.11", "3.12"]
    assert ours.split("[[set]]")[1].strip() in bench.lock_text
    both = bench.lock_text
    for host in ("3.11", "3.12"):
        bench.host = host
        bench.lock(LockPolicy.LOCKED)
        bench.lock()
        assert bench.lock_text == both


def test_an_entry_that_holds_no_more_goes_whoever_finds_out(bench: Any) -> None:
    bench.image("alpha", python=None)
    bench.lock()
    bench.host = "3.12"
    bench.lock()
    bench.image("alpha", "beta", python=None)
    bench.lock()
    assert pythons(bench) == ["3.12"]


def test_upgrading_leaves_no_older_versions_to_the_others(bench: Any, wheel: Any) -> None:
    bench.image("alpha", python=None)
    bench.lock()
    bench.host = "3.12"
    bench.lock()
    wheel(bench.index, "alpha", "3.0")
    bench.lock(LockPolicy.UPGRADE)
    assert pythons(bench) == ["3.12"]
    bench.host = "3.11"
    assert [pin.version for pin in bench.lock().pins["a"]] == ["3.0"]
    assert pythons(bench) == ["3.11", "3.12"]


def test_an_image_that_names_its_python_has_one_entry(bench: Any) -> None:
    bench.image("alpha", python=None)
    bench.lock()
    bench.image("alpha", python="3.12")
    bench.lock()
    assert pythons(bench) == ["3.12"]


def test_a_lock_that_must_not_change_says_how_to_have_one_python(bench: Any) -> None:
    bench.image("alpha", python=None)
    bench.lock()
    bench.host = "3.12"
    with pytest.raises(RecipeError) as caught:
        bench.lock(LockPolicy.LOCKED)
    (found,) = caught.value.problems
    assert "it was resolved for Python 3.11, not 3.12" in found.message
    assert found.hint is not None and 'python = "3.11"' in found.hint


def test_nothing_is_said_to_be_locked_where_nothing_is_written(bench: Any) -> None:
    bench.image("alpha")
    bench.lock(LockPolicy.PREVIEW)
    assert [line.split()[0] for line in bench.told] == ["resolve", "resolved"]
    bench.lock()
    assert [line.split()[0] for line in bench.told] == ["lock", "locked"]


@pytest.fixture
def other_python() -> str:
    """An interpreter of another version, that could run coopery."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)  # HOME is another in these tests
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv"))
    found = [str(path) for path in pyenv.glob(f"versions/{OTHER}.*/bin/python")]
    for python in (*found, shutil.which(f"python{OTHER}")):
        if python is None:
            continue
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip(f"no Python {OTHER} is on this machine")


def test_two_colleagues_do_not_rewrite_each_others_lock(bench: Any, other_python: str) -> None:
    bench.root.joinpath("recipe.toml").write_text(
        "[image.a]\npackages = ['alpha']\n"
        "[task.t]\nimage = 'a'\ncommand = 'python -V > {outputs.o}'\noutputs.o = {}\n"
    )
    home = bench.root.with_name("home")
    # Coopery and what it needs are pure Python: the other interpreter takes them from here.
    paths = os.pathsep.join(path for path in sys.path if path and Path(path).is_dir())
    site = [path for path in paths.split(os.pathsep) if "/lib/python" not in path]
    site += [path for path in paths.split(os.pathsep) if path.endswith("site-packages")]
    env = {**os.environ, "COOPERY_HOME": str(home)}

    def lock(python: str) -> str:
        more = {} if python == sys.executable else {"PYTHONPATH": os.pathsep.join(site)}
        command = [python, "-m", "coopery", "run"]
        ended = subprocess.run(
            command, cwd=bench.root, env=env | more, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return str(bench.lock_text)

    lock(sys.executable)
    both = lock(other_python)
    assert {f"python = '{OTHER}'", "python = '3.11'"} <= {*both.splitlines()}
    assert lock(sys.executable) == both == lock(other_python)
