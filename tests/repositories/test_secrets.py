"""Tokens let in, each to its own repository, and are found nowhere afterwards."""

from __future__ import annotations

import base64
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coopery.model import Secret
from coopery.remotes import Said, find_commit, keychain
from coopery.repositories import Access, Repository
from coopery.secrets import Secrets
from coopery.testing.repositories import HttpServer, make_repository, package_files

from .conftest import Shop

TOKEN = "canary-7hV3xQ9t-LmZ2p8Rw"
OTHER = "canary-Kd81ssPq-4nVb0yTe"
# Of tests that put them into variables, which others that run meanwhile must not find.
INHERITED = "canary-Zu3nW6cJ-Hy1Fa7Xo"
WRITTEN = "canary-Qe5tB8mD-Rk2Gs9Lv"
OPENED = "canary-Pw9cJ4xN-Vt6Kd3Mh"


def forms(value: str) -> list[bytes]:
    raw = value.encode()
    inner = [base64.b64encode(b"\0" * n + raw)[4:-4] for n in range(3)]
    return [raw, raw.hex().encode(), raw[::-1], raw.decode().encode("utf-16-le"), *inner]


def holding(folder: Path, *values: str) -> list[str]:
    """The files below a folder that hold one of the values, however it is written."""
    wanted = [form for value in values for form in forms(value)]
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if any(form in content for form in wanted):
                found.append(str(path))
    return found


@contextmanager
def watched(*values: str) -> Iterator[list[str]]:
    """What processes have a value in their arguments or variables, meanwhile."""
    wanted = [form for value in values for form in forms(value)]
    seen: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for entry in Path("/proc").iterdir():
                if not entry.name.isdigit():
                    continue
                for name in ("cmdline", "environ"):
                    try:
                        content = (entry / name).read_bytes()
                    except OSError:
                        continue
                    if any(form in content for form in wanted):
                        seen.append(f"{name} of {_command(entry)}: {content!r}")
            time.sleep(0.002)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode("utf-8", "replace").replace("\0", " ")
    except OSError:
        return "one that is gone"


def secret(shop: Shop, name: str, value: str) -> None:
    (shop.secrets / name).write_text(value)


def test_a_token_lets_in_and_is_found_nowhere(shop: Shop, http: HttpServer, tmp_path: Path) -> None:
    """Two repositories of one host with tokens of their own, a submodule, and a slow backend."""
    http.logins |= {
        "one/pack": ("", TOKEN), "one/dep": ("", TOKEN), "all/extra": ("robot", OTHER),
        "*": ("", "nobody's"),
    }  # fmt: skip
    shop.repository("one/dep", package="dep")
    pack = shop.repository("one/pack", package="pack")
    files = package_files("pack", requires=[f"dep @ git+{http.url('one/dep')}@main"])
    slow = files["own_backend.py"].replace(
        "def build_wheel(", "def _dump():\n    import os, time\n    time.sleep(0.2)\n"
        "    print(dict(os.environ), open('/proc/self/environ').read())\n\ndef build_wheel(",
    ).replace("    stem, meta = _all()\n", "    _dump()\n    stem, meta = _all()\n")  # fmt: skip
    pack.git("submodule", "--quiet", "add", shop.file_url("one/dep"), "pack_parts")
    pack.git("config", "-f", ".gitmodules", "submodule.pack_parts.url", "../dep.git")
    pack.commit({**files, "own_backend.py": slow})
    shop.repository("all/extra", package="extra")
    secret(shop, "PACK_TOKEN", TOKEN)
    secret(shop, "EXTRA_TOKEN", OTHER)
    secret(shop, "ROBOT", "robot")
    shop.recipe(
        f'{{ url = "{http.url("one/pack")}", token = {{ secret = "PACK_TOKEN" }} }}',
        f'{{ url = "{http.url("all/extra")}", username = {{ secret = "ROBOT" }}, '
        'token = { secret = "EXTRA_TOKEN" } }',
    )
    with watched(TOKEN, OTHER) as seen:
        answer = shop.project.coopery("run", "--verbose", "--debug")
    assert answer.exit_code == 0, answer.stderr
    assert shop.project.read("build/report.txt").splitlines() == [
        "dep: dep 1.0", "extra: extra 1.0", "pack: pack 1.0",
    ]  # fmt: skip
    assert seen == []
    for text in (answer.stdout, answer.stderr):
        assert TOKEN not in text and OTHER not in text
    places = [shop.project.home, shop.project.root, shop.uv_cache, tmp_path / "user"]
    assert [file for place in places for file in holding(place, TOKEN, OTHER)] == []


def test_a_token_in_a_variable_is_handed_to_nobody(
    shop: Shop, http: HttpServer, monkeypatch: Any
) -> None:
    """Neither uv nor git nor a package's build inherit it."""
    http.logins["pack"] = ("", INHERITED)
    files = package_files("pack")
    slow = files["own_backend.py"].replace("    stem, meta = _all()\n", _SLOW)
    make_repository(shop.folder, "pack").commit({**files, "own_backend.py": slow})
    monkeypatch.setenv("PACK_TOKEN", INHERITED)
    shop.recipe(f'{{ url = "{http.url("pack")}", token = {{ secret = "PACK_TOKEN" }} }}')
    with watched(INHERITED) as seen:
        answer = shop.project.coopery("lock")
    assert answer.exit_code == 0, answer.stderr
    assert [line for line in seen if " -m coopery lock" not in line] == []


_LOOKS = """    import glob, os
    found = []
    for name in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            found += [open(name).read()] if "memfd:coopery" in os.readlink(name) else []
        except OSError:
            pass
    stem, meta = _all()
    pathlib.Path("pack.py").write_text(f"SAYS = {str(found)!r}")
"""


def test_while_a_wheel_is_built_no_file_holds_the_token(shop: Shop, http: HttpServer) -> None:
    http.logins["pack"] = ("", OPENED)
    files = package_files("pack")
    looks = files["own_backend.py"].replace("    stem, meta = _all()\n", _LOOKS)
    make_repository(shop.folder, "pack").commit({**files, "own_backend.py": looks})
    secret(shop, "PACK_TOKEN", OPENED)
    shop.recipe(f'{{ url = "{http.url("pack")}", token = {{ secret = "PACK_TOKEN" }} }}')
    assert OPENED not in shop.says()["pack"]


_SLOW = "    import time\n    time.sleep(0.3)\n    stem, meta = _all()\n"


def test_what_was_fetched_needs_no_secret(shop: Shop, https: HttpServer) -> None:
    https.logins["pack"] = ("", TOKEN)
    shop.repository("pack")
    secret(shop, "TOKEN", TOKEN)
    shop.recipe(f'{{ url = "{https.url("pack")}", token = {{ secret = "TOKEN" }} }}')
    assert shop.says() == {"pack": "pack 1.0"}
    (shop.secrets / "TOKEN").unlink()
    https.asked.clear()
    assert shop.says("--force-all") == {"pack": "pack 1.0"}
    assert https.asked == []


@pytest.mark.parametrize("asks", ["wrong", "none"])
def test_refused_credentials_name_the_host_alone(shop: Shop, http: HttpServer, asks: str) -> None:
    http.logins["pack"] = ("", "right")
    shop.repository("pack")
    secret(shop, "TOKEN", TOKEN)
    token = ', token = { secret = "TOKEN" }' if asks == "wrong" else ""
    shop.recipe(f'{{ url = "{http.url("pack")}"{token} }}')
    answer = shop.project.coopery("lock")
    assert answer.exit_code == 3
    told = answer.told("git-credentials")
    assert http.host in told and "recipe.toml:2" in told
    assert TOKEN not in answer.stderr
    assert holding(shop.project.home, TOKEN) + holding(shop.uv_cache, TOKEN) == []


def test_a_secret_that_is_missing_is_told(shop: Shop, http: HttpServer) -> None:
    shop.repository("pack")
    shop.recipe(f'{{ url = "{http.url("pack")}", token = {{ secret = "NOT_THERE" }} }}')
    answer = shop.project.coopery("lock")
    assert answer.exit_code == 3
    assert "NOT_THERE" in answer.told("secret-missing")


def test_a_fetch_with_a_token_when_all_is_locked(shop: Shop, http: HttpServer) -> None:
    """Another machine has the lock, and neither wheels nor repositories."""
    http.logins["pack"] = ("", TOKEN)
    shop.repository("pack")
    secret(shop, "TOKEN", TOKEN)
    shop.recipe(f'{{ url = "{http.url("pack")}", token = {{ secret = "TOKEN" }} }}')
    assert shop.project.coopery("lock").exit_code == 0
    assert shop.says("--locked") == {"pack": "pack 1.0"}
    assert holding(shop.project.home, TOKEN) == []
    secret(shop, "TOKEN", "wrong-one")
    elsewhere = {"COOPERY_HOME": str(shop.project.home) + "-2"}
    answer = shop.project.coopery("run", "--locked", env=elsewhere)
    assert answer.exit_code != 0
    assert http.host in answer.told("git-credentials")
    assert "wrong-one" not in answer.stderr


def test_variables_of_a_requirements_file(shop: Shop, http: HttpServer, monkeypatch: Any) -> None:
    http.logins["pack"] = ("cooper", WRITTEN)
    shop.repository("pack")
    line = f"pack @ git+http://${{PACK_USER}}:${{PACK_TOKEN}}@{http.host}/pack.git@main\n"
    shop.project.write("requirements.txt", line)
    shop.project.write("recipe.toml", '[image.science]\nrequirements = ["requirements.txt"]\n')
    answer = shop.project.coopery("lock")
    assert "PACK_USER" in answer.told("index-credentials")
    monkeypatch.setenv("PACK_USER", "cooper")
    monkeypatch.setenv("PACK_TOKEN", WRITTEN)
    answer = shop.project.coopery("lock")
    assert answer.exit_code == 0, answer.stderr
    assert WRITTEN not in shop.lock
    assert f"git+http://{http.host}/pack.git@" in shop.lock
    answer = shop.project.coopery("build", "science")
    assert answer.exit_code in (0, 2), answer.stderr
    assert holding(shop.project.home, WRITTEN) + holding(shop.uv_cache, WRITTEN) == []


@pytest.mark.parametrize(
    "userinfo", ["cooper:hunter22", "ghp_0123456789abcdefABCDEF0123456789abcd"]
)
def test_credentials_as_text_are_refused(shop: Shop, userinfo: str) -> None:
    shop.recipe(f'"https://{userinfo}@git.example.org/pack.git"')
    answer = shop.project.coopery("lock")
    assert answer.exit_code == 2
    assert "recipe.toml:2" in answer.told("credentials-in-file")
    assert userinfo not in answer.stderr


def test_credentials_in_a_projects_metadata_are_refused(shop: Shop) -> None:
    line = "dep @ git+https://cooper:hunter22@git.example.org/dep.git"
    for name, text in package_files("pack", requires=[line]).items():
        shop.project.write(f"pack/{name}", text)
    shop.project.write("recipe.toml", '[image.science]\nprojects = ["pack"]\n')
    answer = shop.project.coopery("lock")
    assert "git.example.org" in answer.told("credentials-in-file")
    assert "hunter22" not in answer.stderr


def test_a_token_as_text_is_refused(shop: Shop) -> None:
    shop.recipe('{ url = "https://git.example.org/pack.git", token = "hunter22" }')
    answer = shop.project.coopery("lock")
    assert answer.slugs == ("secret-as-text",)
    assert "hunter22" not in answer.stderr


def test_another_rotation_builds_again(shop: Shop, http: HttpServer) -> None:
    shop.repository("pack")
    secret(shop, "TOKEN", TOKEN)
    for rotation, cached in (("", False), ("", True), (", rotation = 2", False)):
        token = f'token = {{ secret = "TOKEN"{rotation} }}'
        shop.recipe(f'{{ url = "{http.url("pack")}", {token} }}')
        steps = shop.project.run("--force")
        (wheel,) = (steps[name] for name in steps if name.startswith("wheel "))
        assert wheel["cached"] is cached


def run(command: Any, environment: Any) -> Said:
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True)
    return Said(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def test_the_users_own_helpers_serve_and_are_told_nothing(
    shop: Shop, http: HttpServer, tmp_path: Path
) -> None:
    """What git learns from a token of the recipe, no helper of the user's gets to keep."""
    http.logins |= {"pack": ("cooper", TOKEN), "dep": ("cooper", OTHER)}
    shop.repository("pack")
    shop.repository("dep")
    kept = tmp_path / "user" / ".git-credentials"
    subprocess.run(["git", "config", "--global", "credential.helper", "store"], check=True)
    secrets = Secrets(lambda secret: TOKEN)
    access = Access(url=http.url("pack"), username="cooper", token=Secret(name="T"))
    with keychain([access], secrets) as variables:
        from coopery.errors import Place

        repository = Repository(url=http.url("pack"), ref="main")
        assert find_commit(repository, variables, run, Place())
    assert not kept.exists()
    kept.write_text(f"http://cooper:{OTHER}@{http.host}\n")
    with keychain([], secrets) as variables:
        repository = Repository(url=http.url("dep"), ref="main")
        assert find_commit(repository, variables, run, Place())
