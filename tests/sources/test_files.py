"""Which files are a folder's own, and paths that may not leave their root."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from coopery.files import LinkOutside, beneath, project_files


def write(root: Path, *names: str, **texts: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def git(root: Path, *arguments: str) -> None:
    names = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *names, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture(params=["git", "plain"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "r"
    folder.mkdir()
    if request.param == "git":
        git(folder, "init", "--quiet")
    return folder


def test_gitignore_holds_with_and_without_git(root: Path) -> None:
    write(root, "a.py", "b.log", "keep.log", "sub/c.log", "sub/d.py", "build/x", "sub/build/y")
    (root / ".gitignore").write_text("*.log\n!keep.log\n/build/\n")
    (root / "sub/.gitignore").write_text("!c.log\nd.py\n")
    assert project_files(root) == (
        ".gitignore", "a.py", "keep.log", "sub/.gitignore", "sub/build/y", "sub/c.log",
    )  # fmt: skip


def test_what_is_never_a_projects_own(root: Path) -> None:
    write(root, "a.py", "__pycache__/a.pyc", "x.pyc", "p.egg-info/PKG-INFO", ".venv/bin/python")
    write(root, "venv/kept", "egg-info/kept")
    assert project_files(root) == ("a.py", "egg-info/kept", "venv/kept")


def test_skip_include_and_exclude(root: Path) -> None:
    write(root, "a.py", "ab.py", "out/1/x.csv", "out/2/x.csv", "out/2/y.csv", "out2/z")
    skip = ("ab.py", root / "out/*/x.csv", "../elsewhere", ".")
    assert project_files(root, skip=skip) == ("a.py", "out/2/y.csv", "out2/z")
    assert project_files(root, skip=[root / "out"]) == ("a.py", "ab.py", "out2/z")
    assert project_files(root, include=["*.py"], exclude=["ab.*"]) == ("a.py",)
    assert project_files(root, include=["out/**/x.csv"]) == ("out/1/x.csv", "out/2/x.csv")


def test_links(root: Path, tmp_path: Path) -> None:
    write(root, "a.py")
    (root / "inner").symlink_to("a.py")
    assert project_files(root) == ("a.py", "inner")
    (root / "outer").symlink_to("../../etc")
    with pytest.raises(LinkOutside):
        project_files(root)
    assert project_files(root, exclude=["outer"]) == ("a.py", "inner")
    (root / "outer").unlink()
    (root / "absolute").symlink_to(root / "a.py")
    with pytest.raises(LinkOutside):
        project_files(root)


def test_deleted_but_still_in_the_index(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "gone.py", "folder/gone.py")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    (tmp_path / "gone.py").unlink()
    (tmp_path / "folder/gone.py").unlink()
    (tmp_path / "folder").rmdir()
    (tmp_path / "folder").write_text("now a file")
    assert project_files(tmp_path) == ("a.py", "folder")


def test_rules_of_the_repository_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("*.log\n/libs/one/secret\nignored/\n")
    write(tmp_path, "libs/one/a.py", "libs/one/x.log", "libs/one/secret", "ignored/p/a.log")
    assert project_files(tmp_path / "libs/one") == ("a.py",)
    # A folder that is ignored as a whole stands for itself.
    assert project_files(tmp_path / "ignored/p") == ("a.log",)
    # Where git is missing, the same rules are read here.
    monkeypatch.setenv("PATH", "")
    assert project_files(tmp_path / "libs/one") == ("a.py",)


def test_nested_repositories_are_looked_into(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    write(tmp_path, "a.py", "inner/b.py", "inner/c.log")
    git(tmp_path / "inner", "init", "--quiet")
    (tmp_path / "inner/.gitignore").write_text("*.log\n")
    assert project_files(tmp_path) == ("a.py", "inner/.gitignore", "inner/b.py")


def test_a_git_hooks_variables_do_not_mislead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = write(tmp_path / "mine", "a.py"), write(tmp_path / "other", "a.py")
    git(mine, "init", "--quiet")
    git(other, "init", "--quiet")
    (other / ".git/info").mkdir(exist_ok=True)
    (other / ".git/info/exclude").write_text("a.py\n")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert project_files(mine) == ("a.py",)


def test_odd_names(root: Path) -> None:
    write(root, "a b.py", "ü.py", "new\nline.py")
    assert set(project_files(root)) == {"a b.py", "ü.py", "new\nline.py"}


def test_beneath(tmp_path: Path) -> None:
    root = write(tmp_path / "r", "sub/a")
    assert beneath(root, "sub/a") == root / "sub/a"
    assert beneath(root, "new/b") == root / "new/b"
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to("sub")
    assert beneath(root, "in/a") == root / "in/a"
    for bad in ("/etc", "../x", "sub/../../x", "sub/../sub/a", "out/x", "out", "a\0b"):
        with pytest.raises(ValueError):
            beneath(root, bad)
