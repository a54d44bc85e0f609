"""Two users pack the same task, each from a checkout of their own: that is the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from coopery.testing import Project

from .test_wheelhouse import PASSWORD, USER, build_hoops

pytestmark = [
    pytest.mark.xdist_group("own-engine"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
]
DIFFERENT: list[dict[str, Any]] = [
    {
        "user": "daemon",
        "umask": 0o022,
        "changed": 1_000_000_000,
        "place": "here",
        "env": {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1", "LC_ALL": "C.UTF-8"},
    },
    {
        "user": "nobody",
        "umask": 0o077,
        "changed": 1_700_000_001,
        "place": "somewhere else/further down",
        "env": {"TZ": "America/St_Johns", "PYTHONHASHSEED": "2", "LC_ALL": "C"},
    },
]
"""All that two users can differ in."""


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def pack_as(own_engine: Any, source: Path, top: Path, *, user: str, umask: int, changed: int,
            place: str, env: dict[str, str]) -> bytes:  # fmt: skip
    """What a user packs, of a checkout of their own. They may read what root may, as Python's."""
    import pwd

    who = pwd.getpwnam(user)
    home, checkout = top / user, top / user / place / "checkout"
    checkout.parent.mkdir(parents=True)
    git(top, "clone", "-q", str(source), str(checkout))
    git(checkout, "remote", "remove", "origin")
    for path in (checkout, *checkout.rglob("*")):
        if path.is_file() and ".git" not in path.relative_to(checkout).parts:
            path.chmod((0o777 if path.stat().st_mode & 0o100 else 0o666) & ~umask)
        os.utime(path, (changed, changed))
    for path in (home, *home.rglob("*")):
        os.chown(path, who.pw_uid, who.pw_gid)
    socket = Path(own_engine.address.removeprefix("unix://"))
    socket.chmod(0o666)
    able = ["setpriv", "--reuid", user, "--regid", str(who.pw_gid), "--clear-groups"]
    able += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    config = Path.home() / ".config/pip/pip.conf"
    environ = {
        **{k: v for k, v in os.environ.items() if k not in ("LANG", "LANGUAGE", "XDG_CACHE_HOME")},
        **({"PIP_CONFIG_FILE": str(config)} if config.exists() else {}),
        **env,
        "HOME": str(home),
        "COOPERY_HOME": str(home / "its home"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [*able, sys.executable, "-m", "coopery", "pack", "order", "-r", "docker"]
    done = subprocess.run(
        [*command, "-o", f"{home}/order.tar.gz"],
        cwd=checkout,
        env=environ,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (home / "order.tar.gz").stat().st_uid == who.pw_uid
    return (home / "order.tar.gz").read_bytes()


def test_two_users_pack_the_same_bytes(
    house: Project,
    own_engine: Any,
    guard_index: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_hoops(tmp_path / "packages", tmp_path / "source")
    host = guard_index(tmp_path / "packages", USER, PASSWORD)
    address = f"http://{USER}:{quote(PASSWORD, safe='')}@{host}/simple/"
    monkeypatch.setenv("WHEELHOUSE_INDEX", address)
    house.write("casks/src/casks/run.sh", "#!/bin/sh\n").chmod(0o755)
    git(house.root, "init", "-q")
    git(house.root, "add", ".")
    git(house.root, "commit", "-qm", "one")
    top = Path(tempfile.mkdtemp())  # where others may look
    try:
        top.chmod(0o755)
        own_engine.folder.chmod(0o711)
        first, second = (pack_as(own_engine, house.root, top, **how) for how in DIFFERENT)
    finally:
        shutil.rmtree(top)
    assert first == second
