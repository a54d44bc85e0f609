"""A home folder that cannot be used: one clear error, nothing lost, and all well once mended.

What only root can set up is done in a mount namespace of the command's own; where that is not
allowed either, these tests are skipped and say so.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from coopery.errors import MachineError
from coopery.testing import Answer, Project, performed
from coopery_store.home import FOLDERS
from coopery_store.store import HomeStore

RECIPE = """
[task.make]
command = ["sh", "-c", "echo made > $COOPERY_OUTPUT_X"]
outputs.x = "build/x"
"""
FULL = """
[task.make]
command = ["sh", "-c", "head -c 30000 /dev/urandom > $COOPERY_OUTPUT_X"]
outputs.x = {}
[task.more]
params.size = 8000000
command = ["sh", "-c", "head -c {params.size} /dev/zero > $COOPERY_OUTPUT_X"]
outputs.x = {}
"""


@pytest.fixture
def made(project: Project) -> Project:
    project.write("recipe.toml", RECIPE)
    project.run()
    return project


def well_again(project: Project) -> None:
    """Nothing was lost: all is remembered, and whole."""
    assert performed(project.run()) == []
    assert project.coopery("cache", "verify").exit_code == 0


def refused(answer: Answer, slug: str, *texts: str) -> None:
    """One clear error: exit code 3, no traceback, and what is wrong."""
    assert answer.exit_code == 3, answer.stderr
    assert "Traceback" not in answer.stderr
    assert f"[{slug}]" in answer.stderr and "hint: " in answer.stderr, answer.stderr
    for text in texts:
        assert text in answer.stderr


# -- mounts ---------------------------------------------------------------------------------------


@cache
def unshare() -> tuple[str, ...]:
    """The command that gives what follows mounts of its own; skips where that is not allowed."""
    options = ("-m",) if os.geteuid() == 0 else ("-r", "-m")
    probe = ["unshare", *options, "mount", "-t", "tmpfs", "tmpfs", tempfile.gettempdir()]
    try:
        done = subprocess.run(probe, capture_output=True, check=False)
    except FileNotFoundError:
        done = None
    return ("unshare", *options) if done is not None and done.returncode == 0 else ()


def mounted(project: Project, mount: str, *commands: str) -> list[Answer]:
    """Run shell commands under a mount, where `coopery` is the installed command."""
    if not unshare():
        pytest.skip("this machine does not allow mounts")
    answers = []
    script = [f'coopery() {{ {shlex.quote(sys.executable)} -m coopery "$@"; }}', mount]
    for command in commands:
        script.append(f"code=0; {{ {command}; }} >$OUT.out 2>$OUT.err || code=$?")
        script.append("echo $code; cat $OUT.err; echo ----")
    out = project.root.parent / "answer"
    done = subprocess.run(
        [*unshare(), "sh", "-ec", "\n".join(script)],
        cwd=project.root,
        env={**os.environ, "COOPERY_HOME": str(project.home), "OUT": str(out)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for part in done.stdout.split("----\n")[:-1]:
        code, _, stderr = part.partition("\n")
        answers.append(Answer(exit_code=int(code), stdout="", stderr=stderr))
    return answers


def test_a_home_on_a_read_only_disk(made: Project) -> None:
    home = shlex.quote(str(made.home))
    mount = f"mount --bind {home} {home}; mount -o remount,bind,ro {home}"
    looks = ("runs", "status", "show", "logs make", "get make.x ../got", "cache info", "run -n")
    run, gc, doctor, *looked = mounted(
        made,
        mount,
        "coopery run --force",
        "coopery cache gc",
        "coopery doctor",
        *(f"coopery {look}" for look in looks),
    )
    for answer in looked:
        assert answer.exit_code == 0, answer.stderr
    refused(run, "home-unusable", "is read-only")
    refused(gc, "home-unusable")
    assert doctor.exit_code == 3
    well_again(made)


def test_a_home_on_a_full_disk(project: Project) -> None:
    project.write("recipe.toml", FULL)
    project.home.mkdir(mode=0o700)
    home = shlex.quote(str(project.home))
    mount = f"mount -t tmpfs -o size=4m,mode=700 tmpfs {home}"
    first, full, same, smaller, verified = mounted(
        project,
        mount,
        "coopery run make",
        "coopery run more",
        "coopery run make --json",
        "coopery run --set more.size=100000",
        "coopery cache verify",
    )
    assert first.exit_code == 0, first.stderr
    # It is the task that is told that there is no room; its log may have none for that either.
    assert full.exit_code in (1, 3), full.stderr
    assert "Traceback" not in full.stderr
    assert same.exit_code == 0, same.stderr
    assert smaller.exit_code == 0 and "1 cached" in smaller.stderr, smaller.stderr
    assert verified.exit_code == 0


def test_a_disk_that_others_filled_is_told_and_gc_makes_room(project: Project) -> None:
    project.write("recipe.toml", FULL)
    project.home.mkdir(mode=0o700)
    home = shlex.quote(str(project.home))
    mount = f"mount -t tmpfs -o size=4m,mode=700 tmpfs {home}"
    fill = f"dd if=/dev/zero of={home}/others bs=4k"
    looks = ("runs", "status", "show", "cache info", "run -n")
    first, _, full, *looked, plain, gc, again = mounted(
        project,
        mount,
        "coopery run --set more.size=2000000",
        fill,
        "coopery run --force",
        *(f"coopery {look}" for look in looks),
        "coopery cache gc",
        "coopery cache gc --budget 0 --older-than 0",
        "coopery run --set more.size=100000",
    )
    assert first.exit_code == 0, first.stderr
    refused(full, "disk-full")
    for answer in looked:
        assert answer.exit_code == 0, answer.stderr
    assert plain.exit_code == 0 and "--older-than 0" in plain.stderr, plain.stderr
    assert gc.exit_code == 0 and "full" not in gc.stderr, gc.stderr
    assert again.exit_code == 0, again.stderr


def test_a_new_home_where_there_is_no_room(project: Project) -> None:
    project.write("recipe.toml", FULL)
    project.home.mkdir(mode=0o700)
    home = shlex.quote(str(project.home))
    mount = f"mount -t tmpfs -o size=4m,nr_inodes=40,mode=700 tmpfs {home}"
    (answer, after) = mounted(
        project, mount, "coopery run", f"mount -o remount,nr_inodes=4000 {home} && coopery run make"
    )
    refused(answer, "disk-full", "no space is left")
    assert after.exit_code == 0, after.stderr


# -- other users ----------------------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_other(home: Path) -> str:
    """Open and close a home as somebody who is not root; what went wrong, or nothing.

    In a copy of this process, since others may not be allowed to read its programs.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "defect"
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            HomeStore(home).close()
            said = ""
        except BaseException as error:
            said = str(error) if isinstance(error, MachineError) else repr(error)
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


def owned(path: Path, mode: int) -> None:
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    path.chmod(mode)


def test_a_home_that_is_not_writable(open_folder: Path) -> None:
    for _ in range(2):  # imports all that others may not be able to
        HomeStore(open_folder / "first").close()
    home = open_folder / "home"
    home.mkdir()
    owned(home, 0o500)
    said = as_other(home)
    assert "cannot be written to [home-unusable]" in said and "hint: " in said
    assert not list(home.iterdir())
    home.chmod(0o700)
    assert as_other(home) == ""
    home.chmod(0o500)
    assert as_other(home) == ""  # it can still be looked into
    home.chmod(0o700)
    assert as_other(home) == ""


def test_a_home_below_a_folder_that_is_not_writable(open_folder: Path) -> None:
    open_folder.chmod(0o555)
    said = as_other(open_folder / "deep" / "home")
    assert "Permission denied" in said and "[home-unusable]" in said
    open_folder.chmod(0o755)
    assert not (open_folder / "deep").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_home_of_somebody_else(made: Project) -> None:
    os.chown(made.home, 65534, 65534)
    refused(made.coopery("run"), "home-unusable", "belongs to user 65534")
    refused(made.coopery("cache", "info"), "home-unusable")
    doctor = made.coopery("doctor", "--mend")
    assert doctor.exit_code == 3 and "belongs to user 65534" in doctor.stdout
    os.chown(made.home, 0, 0)
    well_again(made)


# -- what is in the way ---------------------------------------------------------------------------


def test_a_home_that_is_a_link(made: Project) -> None:
    elsewhere = made.root.parent / "elsewhere"
    made.home.rename(elsewhere)
    made.home.symlink_to(elsewhere)
    well_again(made)
    assert performed(made.run("--force")) == ["make"]


def test_a_new_home_behind_a_link(project: Project) -> None:
    project.write("recipe.toml", RECIPE)
    elsewhere = project.root.parent / "elsewhere"
    elsewhere.mkdir()
    project.home.symlink_to(elsewhere)
    assert performed(project.run()) == ["make"]
    well_again(project)
    assert (elsewhere / "version").exists()


def test_a_home_that_is_a_link_to_nowhere(project: Project) -> None:
    project.write("recipe.toml", RECIPE)
    project.home.symlink_to("nowhere")
    refused(project.coopery("run"), "home-unusable", "it is a link to nowhere")
    assert not (project.home.parent / "nowhere").exists()
    project.home.unlink()
    project.run()


def test_a_home_that_is_a_link_to_itself(project: Project) -> None:
    project.write("recipe.toml", RECIPE)
    project.home.symlink_to(project.home)
    refused(project.coopery("run"), "home-unusable")
    assert project.coopery("doctor").exit_code == 3


def test_a_home_that_is_a_file(project: Project) -> None:
    project.write("recipe.toml", RECIPE)
    project.home.write_text("mine")
    refused(project.coopery("run"), "home-unusable", "it is not a folder")
    assert project.coopery("doctor", "--mend").exit_code == 3
    assert project.home.read_text() == "mine"


def test_a_damaged_version_is_mended_by_doctor(made: Project) -> None:
    (made.home / "version").write_text("\udcff\n", errors="surrogateescape")
    refused(made.coopery("run"), "home-unusable", "`version` is damaged", "coopery doctor")
    doctor = made.coopery("doctor")
    assert doctor.exit_code == 3 and "`version` is damaged" in doctor.stdout
    assert made.coopery("doctor", "--mend").exit_code == 0
    well_again(made)


@pytest.mark.parametrize("name", ["journal", "index", "gc", "resources"])
def test_a_lock_that_is_no_file_is_mended_by_doctor(made: Project, name: str) -> None:
    path = made.home / "locks" / name
    path.unlink(missing_ok=True)
    path.mkdir()
    answer = made.coopery("run", "--force")
    if name == "journal":
        refused(answer, "lock-unusable", str(path), "coopery doctor --mend")
    doctor = made.coopery("doctor")
    assert doctor.exit_code == 3 and f"locks/{name} is no lock file" in doctor.stdout
    assert made.coopery("doctor", "--mend").exit_code == 0
    well_again(made)
    assert performed(made.run("--force")) == ["make"]


def test_a_lock_with_rubbish_in_it_is_as_good_as_any(made: Project) -> None:
    for path in (made.home / "locks").iterdir():
        path.write_bytes(b"\xff\x00rubbish")
    assert performed(made.run("--force")) == ["make"]
    well_again(made)


@pytest.mark.parametrize("name", [*FOLDERS, "objects/*"])
def test_a_folder_of_the_home_that_is_gone_is_made_again(made: Project, name: str) -> None:
    for folder in made.home.glob(name):
        shutil.rmtree(folder)
    made.run()
    made.run("--force")
    (made.root / "build" / "x").unlink()
    made.run()
    assert made.read("build/x") == "made\n"
    assert made.coopery("doctor", "--mend").exit_code == 0
    assert made.coopery("cache", "verify", "--repair").exit_code == 0
    well_again(made)


@pytest.mark.parametrize("what", ["record", "index", "object"])
def test_damage_stops_no_run(made: Project, what: str) -> None:
    match what:
        case "record":
            (record,) = made.home.glob("runs/*/record.json")
            record.write_text("{")
            answer = made.coopery("show", record.parent.name)
            assert answer.exit_code == 3 and answer.slugs == ("run-damaged",)
        case "index":
            (made.home / "index.sqlite").write_bytes(b"rubbish" * 99)
        case _:
            (path,) = made.home.glob("objects/*/*")
            path.chmod(0o644)
            path.write_text("rubbish")
            (made.root / "build" / "x").unlink()
    assert made.coopery("run").exit_code == 0
    assert made.read("build/x") == "made\n"
    assert made.coopery("cache", "verify", "--repair").exit_code == 0
    well_again(made)


def test_an_index_that_is_a_folder_is_told_as_such(made: Project) -> None:
    index = made.home / "index.sqlite"
    index.unlink()
    index.mkdir()
    refused(made.coopery("run"), "home-unusable", "index.sqlite is a folder", "move it away")
    index.rmdir()
    well_again(made)


def test_a_lock_that_is_a_folder_is_told_as_such(project: Project) -> None:
    image = '[image.i]\npackages = ["iris"]\n[task.a]\nimage = "i"\ncommand = "true"\n'
    project.write("recipe.toml", image)
    (project.root / "recipe.lock").mkdir()
    refused(project.coopery("run"), "lock-unreadable", "recipe.lock is a folder", "move it away")
