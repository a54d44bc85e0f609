"""Killed at any moment around git: run again, it does what it would have done."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from coopery.testing import Project
from coopery.testing.repositories import HttpServer, make_repository, package_files

from .conftest import Shop
from .test_secrets import TOKEN, holding, secret

SLOW = """    import os, time
    while not os.path.exists(os.environ["GO_ON"]):
        pathlib.Path(os.environ["GO_ON"] + ".waits").touch()
        time.sleep(0.02)
    stem, meta = _all()
"""


def kill_when(project: Project, there: Callable[[], bool], *arguments: str) -> None:
    """Kill a run as soon as something is there; and all that it started ends with it."""
    call = project.start(*arguments)
    try:
        deadline = time.monotonic() + 60
        while not there():
            assert call.poll() is None, call.communicate()
            assert time.monotonic() < deadline
    finally:
        call.kill()
        call.communicate()


def objects(folder: Path, pattern: str) -> Callable[[], bool]:
    """Whether git is about to write objects somewhere below a folder."""
    return lambda: any(folder.glob(pattern))


@pytest.mark.parametrize("where", ["uv's cache", "the home folder", "the backend"])
def test_what_a_killed_run_left_hinders_no_other(
    shop: Shop, http: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Fewer objects than those that git keeps as a pack by itself, and enough to take a while."""
    http.logins["pack"] = ("", TOKEN)
    secret(shop, "PACK_TOKEN", TOKEN)
    monkeypatch.setenv("GO_ON", str(tmp_path / "go"))
    files = package_files("pack")
    files["own_backend.py"] = files["own_backend.py"].replace("    stem, meta = _all()\n", SLOW)
    numbers = random.Random(1)
    large = {f"data/{n}.txt": numbers.randbytes(20_000).hex() for n in range(40)}
    make_repository(shop.folder, "pack").commit({**files, **large})
    item = f'{{ url = "{http.url("pack")}", token = {{ secret = "PACK_TOKEN" }} }}'
    shop.recipe(item)
    go = tmp_path / "go"
    if where == "uv's cache":
        pattern = "git-v*/db/*/**/objects/*/*"
        kill_when(shop.project, objects(shop.uv_cache, pattern), "run")
        go.touch()
    else:
        go.touch()
        assert shop.project.coopery("lock").exit_code == 0
        if where == "the home folder":
            kill_when(shop.project, objects(shop.project.home, "git/*/objects/*/*"), "run")
        else:
            go.unlink()
            kill_when(shop.project, Path(f"{go}.waits").exists, "run")
            go.touch()
    assert shop.says() == {"pack": "pack 1.0"}
    assert holding(shop.project.home, TOKEN) + holding(shop.uv_cache, TOKEN) == []


def test_half_a_repository_in_uvs_cache_is_told(shop: Shop, http: HttpServer) -> None:
    """Somebody else who uses uv was killed: coopery says what mends it."""
    pack = shop.repository("pack")
    commit = pack.git("rev-parse", "HEAD")
    shop.recipe(f'"{http.url("pack")}"')
    assert shop.project.coopery("lock").exit_code == 0
    (checkouts,) = shop.uv_cache.glob("git-v*/checkouts")
    (database,) = shop.uv_cache.glob("git-v*/db/*")
    subprocess.run(["rm", "-r", checkouts, shop.project.root / "recipe.lock"], check=True)
    (store,) = database.rglob("objects")
    for kept in store.glob("pack/*.pack"):
        content = kept.read_bytes()
        subprocess.run(["rm", "-f", kept, kept.with_suffix(".idx")], check=True)
        unpack = ["git", "unpack-objects", "-q"]
        subprocess.run(unpack, cwd=store.parent, input=content, check=True)
    blob = pack.git("rev-parse", f"{commit}:pack.py")
    (store / blob[:2] / blob[2:]).unlink()
    for built in shop.uv_cache.glob("sdists-v*"):
        subprocess.run(["rm", "-r", built], check=True)
    told = shop.project.coopery("lock").told("git-failed")
    assert "only a part of" in told and "uv cache clean" in told
