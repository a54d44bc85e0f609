"""What a task reads it cannot change, whatever the rights of who runs it, and of the machine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project, make_project

from .conftest import LOCKED, ORDINARY, lacks


@dataclass(frozen=True)
class Place:
    """A project and who runs it; `mounts`: whether the system lets him mount."""

    project: Project
    name: str
    prefix: list[str]
    mounts: bool

    def run(self, *arguments: str, home: str | None = None) -> tuple[int, dict[str, Any], str]:
        """Exit code, steps by name, and what was told."""
        done = subprocess.run(
            [*self.prefix, sys.executable, "-m", "coopery", "run", "--json", *arguments],
            cwd=self.project.root,
            env={**os.environ, "COOPERY_HOME": home or str(self.project.home), "HOME": "/"}
            | {"UV_CACHE_DIR": str(self.project.home.parent / "uv")},
            capture_output=True,
            text=True,
            check=False,
        )
        steps = json.loads(done.stdout)["steps"] if done.stdout else []
        return done.returncode, {step["step"]: step for step in steps}, done.stderr

    def task(self, program: str, more: str = "") -> None:
        """A recipe of one task, a Python program in the machine's Python."""
        self.project.write("program.py", textwrap.dedent(program))
        command = ["/bin/sh", "-c", f"cat program.py | {sys.executable} -S - {{inputs.i}}"]
        self.project.write(
            "recipe.toml",
            f"[image.plain]\nsources = ['program.py']\n"
            f"[task.a]\nimage = 'plain'\ncommand = {json.dumps(command)}\n{more}\n",
        )


@pytest.fixture(params=["as it is", "ordinary", "locked"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    prefix = {"as it is": [], "ordinary": ORDINARY, "locked": LOCKED}[request.param]
    if prefix and (why := lacks(prefix)):
        pytest.skip(why)
    mounts = prefix != LOCKED
    if mounts and lacks([*prefix, *ORDINARY]):
        pytest.skip("user namespaces are not allowed here")
    return Place(make_project(tmp_path), request.param, prefix, mounts)


def refused(place: Place, mounted: str, found: str) -> None:
    """The task fails, as it is told so; nothing is remembered, so the next run tries again."""
    for _ in range(2):
        code, steps, told = place.run()
        assert code == 1, told
        assert steps["a"]["state"] == "failed"
        assert (mounted if place.mounts else found) in told, told


WAYS = {
    "chmod": "os.chmod(p, 0o644); open(p, 'w').write('changed')",
    "append": "os.chmod(p, 0o644); open(p, 'a').write('x')",
    "rename": "open(p + '.new', 'w').write('x'); os.replace(p + '.new', p)",
    "remove": "os.chmod(os.path.dirname(p), 0o755); os.unlink(p)",
    "bit": "os.chmod(p, 0o755)",
}


@pytest.mark.parametrize("way", WAYS)
def test_an_input_cannot_be_changed(place: Place, way: str) -> None:
    place.project.write("in.txt", "input")
    os.utime(place.project.root / "in.txt", (1e9, 1e9))
    place.task(f"import os, sys\np = sys.argv[1]\n{WAYS[way]}\n", "inputs.i = 'in.txt'")
    refused(place, "[task-failed]", "[input-modified]")
    assert place.project.read("in.txt") == "input"


FOLDER_WAYS = {
    "chmod": "os.chmod(p + '/sub/x', 0o644); open(p + '/sub/x', 'w').write('changed')",
    "add": "os.chmod(p, 0o755); open(p + '/y', 'w')",
    "folder": "os.chmod(p, 0o755); os.mkdir(p + '/y')",
    "rename": "os.chmod(p + '/sub', 0o755); os.chmod(p, 0o755); os.rename(p + '/sub', p + '/y')",
    "remove": "os.chmod(p + '/sub', 0o755); os.unlink(p + '/sub/x')",
}


@pytest.mark.parametrize("way", FOLDER_WAYS)
def test_a_folder_cannot_be_changed(place: Place, way: str) -> None:
    place.project.write("folder/sub/x", "input")
    place.task(f"import os, sys\np = sys.argv[1]\n{FOLDER_WAYS[way]}\n", "inputs.i = 'folder'")
    refused(place, "[task-failed]", "[input-modified]")
    assert place.project.read("folder/sub/x") == "input"
    assert [p.name for p in (place.project.root / "folder").iterdir()] == ["sub"]


def test_what_another_task_made_cannot_be_changed(place: Place) -> None:
    place.task(
        "import os, sys\nos.chmod(sys.argv[1], 0o644); open(sys.argv[1], 'w').write('x')",
        "inputs.i = { from = 'make.o' }\n[task.make]\ncommand = 'echo 1 > {outputs.o}'\n"
        "outputs.o = {}\n[task.after]\ncommand = 'cat {inputs.i} > {outputs.o}'\n"
        "inputs.i = { from = 'make.o' }\noutputs.o = 'o'",
    )
    refused(place, "[task-failed]", "[input-modified]")
    assert place.project.read("o") == "1\n"


def test_what_is_only_read_or_touched_is_not_changed(place: Place) -> None:
    place.project.write("folder/x", "input")
    place.project.write("i", "input")
    command = "cat {inputs.i} {inputs.f}/x; chmod u+w {inputs.i} && touch {inputs.i} || true"
    place.project.write(
        "recipe.toml",
        f"[task.a]\ncommand = '{command}'\ninputs.i = 'i'\ninputs.f = 'folder'\n",
    )
    code, _, told = place.run()
    assert code == 0, told
    code, steps, told = place.run()
    assert steps["a"]["cached"], told


def hashed(text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
    return digest.decode().rstrip("=")


def make_wheel(folder: Path) -> Path:
    """A wheel of one module, which uv unpacks into its cache."""
    path = folder / "thing-1.0-py3-none-any.whl"
    files = {
        "thing.py": "VALUE = 'good'\n",
        "thing-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
        "thing-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        lines = [f"{name},sha256={hashed(text)},{len(text)}\n" for name, text in files.items()]
        record = "thing-1.0.dist-info/RECORD"
        wheel.writestr(record, "".join([*lines, f"{record},,\n"]))
    return path


ENVIRONMENT = r'''
[image.tools]
wheels = ["thing-1.0-py3-none-any.whl"]

[task.a]
image = "tools"
command = ["python", "-c", """
import os, thing
path = thing.__file__
print("links", os.stat(path).st_nlink)
if not os.environ.get("GOOD"):
    os.chmod(path, 0o644)
    open(path, "w").write("VALUE = 'bad'")
"""]
pass_env = ["GOOD"]

[task.b]
image = "tools"
command = """
python -c 'import sys, thing; open(sys.argv[1], "w").write(thing.VALUE)' {outputs.o}
"""
outputs.o = "o"
'''


def test_an_environment_cannot_be_changed(place: Place) -> None:
    make_wheel(place.project.root)
    place.project.write("recipe.toml", ENVIRONMENT)
    code, steps, told = place.run("a")
    assert code == 1, told
    assert ("[task-failed]" if place.mounts else "[environment-modified]") in told
    if not place.mounts:
        assert "thing.py was changed" in told
    # uv's cache is as it was, and so is the environment, or it is made anew.
    cached = list((place.project.home.parent / "uv").rglob("thing.py"))
    assert cached and {p.read_text() for p in cached} == {"VALUE = 'good'\n"}
    assert steps["a"]["state"] == "failed"
    code, steps, told = place.run("b")
    assert code == 0, told
    assert place.project.read("o") == "good"
    code, steps, told = place.run("a")
    assert code == 1, "nothing was remembered"


def test_a_damaged_environment_is_found_before_the_next_task_too(place: Place) -> None:
    if place.mounts:
        pytest.skip("there it takes somebody else")
    make_wheel(place.project.root)
    place.project.write("recipe.toml", ENVIRONMENT)
    assert place.run("b")[0] == 0
    (module,) = place.project.home.glob("places/*/lib/python*/site-packages/thing.py")
    module.write_text("VALUE = 'bad'\n")
    (place.project.root / "o").unlink()
    code, _, told = place.run("b", "--force")
    assert (code, "[environment-modified]" in told) == (1, True), told
    code, _, told = place.run("b", "--force")
    assert (code, place.project.read("o")) == (0, "good"), told


def test_an_environment_from_where_mounts_were_gets_files_of_its_own(place: Place) -> None:
    if place.mounts or os.geteuid() != 0:
        pytest.skip("wants both")
    make_wheel(place.project.root)
    place.project.write("recipe.toml", ENVIRONMENT)
    assert Place(place.project, "as it is", [], mounts=True).run("b")[0] == 0
    (module,) = place.project.home.glob("places/*/lib/python*/site-packages/thing.py")
    linked = module.stat().st_nlink > 1
    code, _, told = place.run("a")
    assert (code, "[environment-modified]" in told) == (1, True), told
    cached = list((place.project.home.parent / "uv").rglob("thing.py"))
    assert {p.read_text() for p in cached} == {"VALUE = 'good'\n"}, linked


def test_an_environment_is_never_links_into_the_cache(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_LINK_MODE", "symlink")
    make_wheel(place.project.root)
    place.project.write("recipe.toml", ENVIRONMENT)
    assert place.run("b")[0] == 0
    (module,) = place.project.home.glob("places/*/lib/python*/site-packages/thing.py")
    assert module.is_file() and not module.is_symlink()
    assert place.mounts or module.stat().st_nlink == 1


def test_a_home_whose_path_separates_paths_is_refused_for_environments(place: Place) -> None:
    make_wheel(place.project.root)
    place.project.write("recipe.toml", ENVIRONMENT)
    code, _, told = place.run("b", home=str(place.project.root.parent / "a:b"))
    assert (code, "[home-unusable]" in told) == (3, True), told
    place.project.write("recipe.toml", "[task.a]\ncommand = ['true']\n")
    assert place.run(home=str(place.project.root.parent / "a:b"))[0] == 0


def test_fixed_paths(place: Place) -> None:
    place.project.write("in.txt", "x\n")
    place.project.write(
        "recipe.toml",
        """
        [task.before]
        command = "touch {outputs.o}"
        outputs.o = "before"

        [task.a]
        command = \"\"\"
        cat /kaapana/in/in.txt > /kaapana/out/o.txt && ls /usr/bin > /dev/null && id -u > /dev/null
        ! echo y > /kaapana/in/in.txt && test "$(stat -c %u /kaapana/out/o.txt)" = "$(id -u)"
        \"\"\"
        inputs.i = { path = "in.txt", mount = "/kaapana/in/in.txt" }
        outputs.o = { path = "o.txt", mount = "/kaapana/out/o.txt" }
        """,
    )
    code, steps, told = place.run("-j", "1")
    if place.mounts:
        assert code == 0, told
        assert place.project.read("o.txt") == "x\n"
    else:
        assert (code, steps, told.count("[no-mounts]")) == (2, {}, 2), told
        assert not (place.project.root / "before").exists(), "it is told before anything runs"
    assert not Path("/kaapana").exists()


def test_a_task_is_who_it_is_without_mounts(place: Place) -> None:
    place.project.write("i", "x")
    command = "id -u; id -g; stat -c %u:%g {inputs.i}; grep CapEff /proc/self/status"
    place.project.write(
        "recipe.toml",
        f"[task.a]\ncommand = '({command}) > {{outputs.o}}'\ninputs.i = 'i'\noutputs.o = 'o'\n",
    )
    code, _, told = place.run()
    assert code == 0, told
    owner = (place.project.root / "i").stat()
    ids = {"ordinary": (1000, 1000), "locked": (0, 0)}
    expected = tuple(map(str, ids.get(place.name, (os.geteuid(), os.getegid()))))
    user, group, both, powers = place.project.read("o").splitlines()
    assert (user, group) == expected
    assert both == ":".join(expected)
    if place.prefix or os.geteuid():
        assert int(powers.split()[1], 16) == 0
    assert (place.project.root / "o").stat().st_uid == owner.st_uid


def test_shm_of_its_own(place: Place) -> None:
    place.project.write(
        "recipe.toml",
        "[task.a]\ncommand = 'stat -f -c %b*%S /dev/shm > {outputs.o}'\noutputs.o = 'o'\n"
        "resources.shm = '3Mi'\n",
    )
    code, _, told = place.run()
    assert code == 0, told
    blocks, size = place.project.read("o").split("*")
    assert (int(blocks) * int(size) == 3 << 20) == place.mounts
