"""An image with a package of a private index is built where nothing leads to that index."""

from __future__ import annotations

import gzip
import io
import shutil
import socket
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from coopery.testing import Answer, Project

from .test_wheelhouse import PASSWORD, USER, build_hoops

pytestmark = pytest.mark.xdist_group("own-engine")

LIST = """
import hashlib, os
import casks, hoops
for top in ("/opt/coopery", "/work"):
    for folder, folders, files in os.walk(top):
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            told = os.lstat(path)
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isdir(path):
                content = ""
            else:
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            print(path, oct(told.st_mode), told.st_uid, told.st_gid, content)
"""
"""Prints all that coopery put into an image: who may do what with it, and what it holds."""


def good(answer: Answer, told: list[str]) -> Answer:
    assert answer.exit_code == 0, answer.stderr
    told += [answer.stdout, answer.stderr]
    return answer


def test_it_is_built_with_the_index_gone(
    house: Project,
    own_engine: Any,
    index_while: Any,
    traces: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    archive = tmp_path / "order.tar.gz"
    packages = tmp_path / "packages"
    build_hoops(packages, tmp_path / "source")
    with index_while(packages, USER, PASSWORD) as host:
        address = f"http://{USER}:{quote(PASSWORD, safe='')}@{host}/simple/"
        monkeypatch.setenv("WHEELHOUSE_INDEX", address)
        good(house.coopery("pack", "order", "-r", "docker", "-o", str(archive)), told)
    shutil.rmtree(packages)
    name, _, port = host.partition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((name, int(port)))

    # What was fetched is at hand, and an engine without any network builds of it.
    steps = good(house.coopery("build", "house", "-r", "docker", "--json"), told).json["steps"]
    built = {s["step"]: s for s in steps}
    assert built["packages house"]["cached"] and not built["image house"]["cached"]
    tag = built["image house"]["facts"]["image"]
    good(house.coopery("run", "-r", "docker"), told)
    assert "hogshead" in house.read("build/order.txt")

    # So does plain `docker build --network=none`, of the archive.
    plain = [own_engine.build(archive.read_bytes(), buildkit=b, network="none") for b in (0, 1)]
    listed = [own_engine.run(image, "python", "-c", LIST) for image in (tag, *plain)]
    assert "env/lib/python3.11/site-packages/hoops/__init__.py" in listed[0]
    assert "env/lib/python3.11/site-packages/casks/measure.py" in listed[0]
    assert "__pycache__/measure" in listed[0]
    assert listed[1] == listed[0] and listed[2] == listed[0]

    seen = tmp_path / "seen"
    shutil.unpack_archive(archive, seen / "archive")
    with tarfile.open(fileobj=io.BytesIO(b"".join(own_engine.client.get_image(tag)))) as saved:
        saved.extractall(seen / "image", filter="tar")
    layers = list((seen / "image").rglob("layer.tar"))
    assert any(b"hoops/__init__.py" in layer.read_bytes() for layer in layers)
    for number, image in enumerate((tag, *plain)):
        (seen / f"{number}.config").write_text(repr(own_engine.client.inspect_image(image)))
        (seen / f"{number}.history").write_text(repr(own_engine.client.history(image)))
    (seen / "told").write_text("\n".join(told))
    # All that the engine keeps, its builder's cache too.
    roots = (house.root, house.home, archive, seen, own_engine.folder)
    assert traces(PASSWORD, *roots) == []


def test_a_trace_would_be_found(tmp_path: Path, traces: Any) -> None:
    """In every spelling, at every place in base64, and in what is packed."""
    import base64

    hidden = [PASSWORD, quote(PASSWORD), quote(PASSWORD, safe="").lower()]
    for text in ("", "a", "ab", f"{USER}:"):
        hidden.append(base64.b64encode(f"{text}{PASSWORD} and more".encode()).decode())
        hidden.append(base64.urlsafe_b64encode(f"{text}{PASSWORD}".encode()).decode())
    for number, text in enumerate(hidden):
        file = tmp_path / str(number)
        file.write_bytes(gzip.compress(f"before {text} after".encode()))
        assert traces(PASSWORD, file) == [str(file)], text
    other = tmp_path / "other"
    other.write_text("nothing of the kind")
    assert traces(PASSWORD, other) == []
