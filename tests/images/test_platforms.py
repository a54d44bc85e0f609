"""Bases for another platform than this machine's: what is resolved, taken and refused for them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project, make_project

from .conftest import write_wheel

PYTHON = """#!/bin/sh
echo '{"python": "3.11.2", "executable": "/usr/bin/python3", "libc": "LIBC"}'
"""
BACKEND = """
import zipfile, pathlib
def build_wheel(folder, settings=None, metadata=None):
    tag = pathlib.Path("tag").read_text().strip()
    name = f"own-1.0-{tag}.whl"
    files = {"own.py": "x = 1\\n", "own-1.0.dist-info/METADATA":
             "Metadata-Version: 2.1\\nName: own\\nVersion: 1.0\\n",
             "own-1.0.dist-info/WHEEL":
             f"Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: {tag}\\n"}
    import base64, hashlib
    def row(n, t):
        d = base64.urlsafe_b64encode(hashlib.sha256(t.encode()).digest()).rstrip(b"=").decode()
        return f"{n},sha256={d},{len(t)}\\n"
    record = "".join(row(*item) for item in files.items()) + "own-1.0.dist-info/RECORD,,\\n"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as archive:
        for path, text in {**files, "own-1.0.dist-info/RECORD": record}.items():
            archive.writestr(path, text)
    return name
"""


def _tar(files: dict[str, bytes], *real: str) -> bytes:
    """These files, as programs; and some of this machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in real:
            archive.add(os.path.realpath(path), path.lstrip("/"))
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _image(name: str, libc: str) -> bytes:
    """An image that says linux/arm64, as `docker load` takes it: with this machine's shell, and a
    Python that only tells what it would be.
    """
    programs = {"usr/bin/python3": PYTHON.replace("LIBC", libc), "usr/bin/getconf": "#!/bin/sh\n"}
    layer = _tar(
        {path: text.encode() for path, text in programs.items()},
        *("/bin/sh", "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"),
    )
    config = {
        "architecture": "arm64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    said = {"config.json": config, "manifest.json": manifest}
    return _tar({n: json.dumps(x).encode() for n, x in said.items()} | {"layer.tar": layer})


@pytest.fixture
def armed(sdk_engine: Any) -> Iterator[str]:
    """An image whose config says linux/arm64; what is in it runs here all the same."""
    if os.uname().machine != "x86_64":
        pytest.skip("the files of the faked base are those of x86_64")
    name = f"coopery-test-{secrets.token_hex(4)}:arm"
    list(sdk_engine.load_image(_image(name, "glibc 2.31")))
    try:
        assert sdk_engine.inspect_image(name)["Architecture"] == "arm64"
        yield name
    finally:
        sdk_engine.remove_image(name, force=True)


@pytest.fixture
def shop(tmp_path: Path, sweep: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project beside a folder index."""
    for name in [n for n in os.environ if n.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    index = tmp_path / "index"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    write_wheel(index, "both", "1.0")
    write_wheel(index, "both", "2.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    write_wheel(index, "both", "2.0", tag="cp311-cp311-manylinux_2_17_aarch64")
    write_wheel(index, "here", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    project = make_project(tmp_path)
    project.write("own/own_backend.py", BACKEND)
    project.write("own/tag", "py3-none-any")
    system = 'requires = []\nbuild-backend = "own_backend"\nbackend-path = ["."]\n'
    text = f'[build-system]\n{system}[project]\nname = "own"\nversion = "1.0"\n'
    project.write("own/pyproject.toml", text)
    sweep(project.home)
    return project


def recipe(project: Project, arm: str, *packages: str, more: str = "") -> None:
    project.write(
        "recipe.toml",
        f"""
        [image.intel]
        base = "python:3.11-slim"
        python = "3.11"
        packages = {json.dumps(packages)}
        projects = ["own"]

        [image.arm]
        base = "{arm}"
        python = "3.11"
        packages = {json.dumps(packages)}
        projects = ["own"]
        {more}
        """,
    )


def test_one_project_and_one_package_on_two_platforms(shop: Project, armed: str) -> None:
    """The pure wheel of the project is built once; of the package each image has its own."""
    recipe(shop, armed, "both")
    answer = shop.coopery("build", "-r", "docker", "--json")
    assert answer.exit_code == 0, answer.stderr
    lock = shop.read("recipe.lock")
    assert "platform = 'linux/arm64'\nmachine = 'linux/amd64'\n" in lock
    built = [step for step in answer.json["steps"] if step["kind"] == "wheel"]
    assert len(built) == 1
    tags = set()
    for listing in shop.home.rglob("both-2.0.dist-info/WHEEL"):
        tags |= {line for line in listing.read_text().splitlines() if line.startswith("Tag:")}
    assert {tag.rpartition("2_17_")[2] for tag in tags} == {"x86_64", "aarch64"}
    assert shop.coopery("lock", "--check", "-r", "docker").exit_code == 0
    again = shop.coopery("build", "-r", "docker", "--json", "--locked")
    assert again.exit_code == 0 and all(step["cached"] for step in again.json["steps"])


def test_a_package_that_only_one_of_them_has_is_told_first(shop: Project, armed: str) -> None:
    recipe(shop, armed, "both", "here")
    answer = shop.coopery("build", "-r", "docker")
    assert answer.exit_code == 2, answer.stderr
    told = answer.told("wheel-unavailable")
    assert "recipe.toml:" in told and "image.arm.packages[1]" in told
    assert "here 1.0 has no wheel for the platform of image 'arm' (aarch64-manylinux_2_31" in told
    assert "choose another `base`" in told
    assert not (shop.root / "recipe.lock").exists()


def test_what_was_compiled_here_is_refused_elsewhere(shop: Project, armed: str) -> None:
    """A wheel file by its name, before anything is made; a project once its wheel is built."""
    shop.write("own/tag", "cp311-cp311-linux_x86_64")
    recipe(shop, armed)
    answer = shop.coopery("build", "-r", "docker", "arm")
    assert answer.exit_code == 1, answer.stderr
    told = answer.told("wheel-unavailable")
    assert "own-1.0-cp311-cp311-linux_x86_64.whl does not fit the base" in told
    assert "linux/arm64" in told and "it is for x86_64" in told and "recipe.toml:" in told
    wheel = write_wheel(shop.root, "given", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    recipe(shop, armed, more=f'wheels = ["{wheel.name}"]')
    answer = shop.coopery("build", "-r", "docker", "arm")
    assert answer.exit_code == 2, answer.stderr
    told = answer.told("wheel-unavailable")
    assert "image.arm.wheels[0]" in told and "it is for x86_64" in told
