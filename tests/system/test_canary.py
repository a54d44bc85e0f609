"""One token opens the index, the repository, the registry and a task's door: traces nowhere."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import signal
import subprocess
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import registries
from searching import spellings, traces

from coopery.testing import Project, make_project
from coopery.testing.repositories import make_repository, package_files, serve_http

TOKEN = registries.PASSWORD

TELLS = """
import base64, json, os, sys, time, urllib.parse
token = open(os.environ["COOPERY_SECRET_TOKEN"]).read()
def tell(text):
    for at in range(0, len(text), 5):  # across the borders of what is read at once
        sys.stdout.write(text[at:at + 5]); sys.stdout.flush()
        sys.stderr.flush(); time.sleep(0.002)
    print(flush=True)
for text in (token, urllib.parse.quote(token, safe=""), json.dumps({"token": token}),
             base64.b64encode(b"ada:" + token.encode()).decode(), token.encode().hex()):
    tell(text)
print(token, file=sys.stderr)
open(sys.argv[1], "w").write(str(len(token)))
time.sleep(float(sys.argv[2]))
if sys.argv[3] == "fail":
    raise SystemExit(f"cannot log in with {token}")
if sys.argv[3] == "raise":
    raise ValueError(token)
"""

RECIPE = """
registries = [{{ host = "{registry}", username = "ada", password = {{ secret = "CANARY" }} }}]

[image.i]
base = "{registry}/base:1"
packages = ["cask"]
git = [{{ url = "{git}", token = {{ secret = "CANARY" }} }}]
sources = ["tells.py"]

[[image.i.indexes]]
url = "http://{index}/simple/"
username = "ada"
password = {{ secret = "CANARY" }}

[task.tells]
image = "i"
command = ["python", "tells.py", "{{outputs.out}}", "{{params.seconds}}", "{{params.how}}"]
params = {{ seconds = 0.0, how = "well" }}
secrets.TOKEN = {{ secret = "CANARY" }}
outputs.out = "build/out.txt"

[task.both]
image = "i"
command = ["python", "-c", "import cask, barrel; print(barrel.SAYS)"]
"""

CRASHES = """
from coopery.hooks import hookimpl

@hookimpl
def observe(events):
    for event in events:
        if event.kind == "ended" and event.step == "tells":
            import gc
            from coopery.secrets import Secrets
            found = [s._known for s in gc.get_objects() if isinstance(s, Secrets)]
            raise RuntimeError(f"a plugin that tells: {found}")
"""
"""A plugin of somebody's that fails, with what it should never have told in its error."""


@pytest.fixture
def opened(
    tmp_path: Path,
    registry: registries.Registry,
    guard_index: Callable[[Path, str, str], str],
    sdk_engine: Any,
    sweep: Callable[[Path], None],
) -> Iterator[Project]:
    """A project that needs all four; the token is in a file that only `--secret` names."""
    project = make_project(tmp_path)
    index, repositories = tmp_path / "index", tmp_path / "repositories"
    index.mkdir()
    repositories.mkdir()
    _wheel(index)
    make_repository(repositories, "barrel").commit(package_files("barrel", "1.0"))
    registry.push(sdk_engine, "python:3.11-slim", "base", "1")
    vault = tmp_path / "vault"
    vault.mkdir(mode=0o700)
    (vault / "canary").write_text(f"{TOKEN}\n")
    (vault / "canary").chmod(0o600)
    (tmp_path / "user").mkdir()
    with serve_http(repositories, {"*": ("", TOKEN)}) as git:
        text = RECIPE.format(
            registry=registry.host,
            index=guard_index(index, "ada", TOKEN),
            git=git.url("barrel"),
        )
        project.write("recipe.toml", text)
        project.write("tells.py", TELLS)
        sweep(project.home)
        yield project
    for image in sdk_engine.images(filters={"reference": f"{registry.host}/*"}):
        for name in image["RepoTags"] or image["RepoDigests"] or ():
            if name.startswith(registry.host):
                sdk_engine.remove_image(name)


def _wheel(index: Path) -> None:
    """The package that exists on this index alone."""
    info = "cask-1.0.dist-info"
    members = {
        "cask.py": "SAYS = 'cask 1.0'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: cask\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    with zipfile.ZipFile(index / "cask-1.0-py3-none-any.whl", "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            lines.append(f"{name},sha256={digest.decode().rstrip('=')},{len(text)}")
        archive.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,"]) + "\n")


def call(project: Project, *arguments: str) -> Any:
    return project.coopery(*arguments, "--debug", env=_variables(project))


def _variables(project: Project) -> dict[str, str]:
    folder = project.home.parent
    return {
        "HOME": str(folder / "user"),
        "UV_CACHE_DIR": str(folder / "uv-cache"),
        "PIP_CONFIG_FILE": "/dev/null",
        "COOPERY_SECRET": f"CANARY=file:{folder / 'vault' / 'canary'}",
    }


@contextmanager
def watched() -> Iterator[list[str]]:
    """What processes have the token in their arguments or variables, meanwhile."""
    forms = spellings(TOKEN)
    seen: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            for entry in Path("/proc").iterdir():
                for name in ("cmdline", "environ") if entry.name.isdigit() else ():
                    try:
                        content = (entry / name).read_bytes()
                    except OSError:
                        continue
                    found = [word for word in content.split(b"\0") if _in(word, forms)]
                    if found:
                        seen.append(f"{entry.name} {name}: {found} {_program(entry)}")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _program(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _in(word: bytes, forms: frozenset[bytes]) -> bool:
    return any(form in word for form in forms)


def in_engine(engine: Any, home: Path, folder: Path) -> None:
    """All that the engine has of a home's images and containers, as files."""
    from coopery_docker.notes import HOME, home_id

    label = {"label": [f"{HOME}={home_id(home)}"]}
    images = engine.images(filters=label)
    assert images
    folder.mkdir()
    for image in images:
        name = image["Id"].removeprefix("sha256:")[:12]
        told = [engine.inspect_image(image["Id"]), engine.history(image["Id"])]
        (folder / f"{name}.json").write_text(json.dumps(told))
        saved = b"".join(engine.get_image(image["Id"]))
        with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
            archive.extractall(folder / name, filter="data")
    containers = engine.containers(all=True, filters=label)
    told = [engine.inspect_container(container["Id"]) for container in containers]
    (folder / "containers.json").write_text(json.dumps(told))


@pytest.mark.xdist_group("canary")
@pytest.mark.timeout(600)
def test_a_token_is_found_nowhere(
    opened: Project, registry: registries.Registry, sdk_engine: Any, tmp_path: Path
) -> None:
    told: list[str] = []
    with watched() as seen:
        for arguments, code in (
            (("lock", "-r", "docker"), 0),
            (("run", "-r", "docker", "-v"), 0),
            (("run", "-r", "docker", "-v", "--set", "tells.how=fail"), 1),
            (("run", "-r", "local", "-v", "--set", "tells.how=raise"), 1),
            (("run", "-r", "local", "-v"), 0),
            (("run", "-r", "docker", "-n"), 0),
            (("why", "tells", "-r", "docker"), 0),
            (("logs", "tells"), 0),
            (("show", "--json"), 0),
            (("pack", "i"), 0),
            (("publish", "--to", f"{registry.host}/published"), 0),
        ):
            answer = call(opened, *arguments)
            assert answer.exit_code == code, answer.stderr
            told += [answer.stdout, answer.stderr]
        opened.plugin("crashes", CRASHES)
        answer = call(opened, "run", "-r", "local", "--force")
        assert answer.exit_code != 0 and "a plugin that tells" in answer.stderr
        told += [answer.stdout, answer.stderr]
        (opened.site / "crashes.py").write_text("")
        told += killed(opened)
        answer = call(opened, "run", "-r", "docker", "-v", "--set", "tells.seconds=0.1")
        assert answer.exit_code == 0, answer.stderr
        told += [answer.stdout, answer.stderr]
    assert seen == []
    assert opened.read("build/out.txt") == str(len(TOKEN))
    (tmp_path / "told.txt").write_text("\n".join(told))
    assert "****" in "\n".join(told)
    in_engine(sdk_engine, opened.home, tmp_path / "engine")
    memory = [p for p in Path("/dev/shm").glob("coopery-*") if any(p.rglob("*"))]
    roots = [opened.home, opened.root, tmp_path / "told.txt", tmp_path / "engine", *memory]
    roots += [tmp_path / "user", tmp_path / "uv-cache", registry.folder / "blobs"]
    assert traces(TOKEN, *roots) == []


def killed(project: Project) -> list[str]:
    """Kill coopery while a task has the token; what it had said."""
    process = project.start(
        *("run", "-r", "docker", "-v", "--debug", "--set", "tells.seconds=60"),
        env=_variables(project),
    )
    deadline = time.monotonic() + 120
    logs = project.home / "runs"
    while not any("****" in p.read_text() for p in logs.rglob("tells.log") if _new(p)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    try:
        return list(process.communicate(timeout=60))
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _new(log: Path) -> bool:
    return time.time() - log.stat().st_mtime < 5
