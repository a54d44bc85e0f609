"""Real registries on loopback, which want to know who asks, and small images to push to them."""

from __future__ import annotations

import base64
import io
import json
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

USER, PASSWORD = "ada", "geheim-7f3a"
_HTPASSWD = "ada:$2y$04$KvRuXOZbnzYqigXIFzQmR.THygeMM4v6QAgE40CaTflCzdHPBKobm"
"""What `htpasswd -nbB` makes of them; at the least cost, since it is asked with every request."""
_SERVER = "docker-registry"
_SECONDS = 30
TOOLS = ("sh", "cat", "chmod", "mkdir", "ln", "sleep", "true")


@dataclass(frozen=True)
class Registry:
    """A running registry: `host` is what its images' names begin with, `folder` holds its blobs."""

    host: str
    folder: Path
    user: str = USER
    password: str = PASSWORD

    @property
    def login(self) -> dict[str, str]:
        """Who to be, as the SDK's `auth_config` wants it."""
        return {"username": self.user, "password": self.password}

    def auths(self, password: str | None = None) -> dict[str, Any]:
        """What `docker login` writes down of it; with another password, what is refused."""
        text = f"{self.user}:{password or self.password}"
        return {"auths": {self.host: {"auth": base64.b64encode(text.encode()).decode()}}}

    def push(self, engine: Any, image: str, name: str, tag: str) -> str:
        """Push an engine's image as `HOST/NAME:TAG`; its digest. The engine's tag is removed."""
        reference = f"{self.host}/{name}"
        engine.tag(image, reference, tag)
        digest = ""
        try:
            told = engine.push(reference, tag=tag, stream=True, decode=True, auth_config=self.login)
            for line in told:
                if "error" in line:
                    raise RuntimeError(line["error"])
                digest = (line.get("aux") or {}).get("Digest", digest)
        finally:
            engine.remove_image(f"{reference}:{tag}")
        return digest

    def manifest(self, name: str, reference: str) -> dict[str, Any]:
        """What it serves under a name and a tag or digest, as bytes that were pushed."""
        request = urllib.request.Request(f"http://{self.host}/v2/{name}/manifests/{reference}")
        text = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {text}")
        for kind in (
            "vnd.docker.distribution.manifest.v2",
            "vnd.docker.distribution.manifest.list.v2",
            "vnd.oci.image.manifest.v1",
            "vnd.oci.image.index.v1",
        ):
            request.add_header("Accept", f"application/{kind}+json")
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def serve(folder: Path) -> Iterator[Registry]:
    """A registry of its own, for one user. Raises FileNotFoundError where none is installed."""
    program = shutil.which(_SERVER)
    if program is None:
        raise FileNotFoundError(_SERVER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(f"{_HTPASSWD}\n")
    config = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "blobs")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}},
    }
    (folder / "config.yml").write_text(json.dumps(config))  # which is YAML too
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + _SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "log").read_text())
            time.sleep(0.02)
        yield Registry(f"localhost:{port}", folder)
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def small_image(mark: str, tools: Sequence[str] = TOOLS) -> bytes:
    """A file system of a few programs of this machine and what they load, as a tar to import.

    A few megabytes, without Python; images of different marks are different ones.
    """
    files: set[Path] = set()
    links: dict[str, str] = {}
    for tool in tools:
        program = Path(shutil.which(tool, path="/bin:/usr/bin") or tool).resolve()
        files.add(program)
        links[f"bin/{tool}"] = str(program)
        told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
        words = [word for word in told.stdout.split() if word.startswith("/")]
        for word in words:
            files.add(Path(word).resolve())
            links[word.lstrip("/")] = str(Path(word).resolve())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in sorted(files):
            archive.add(file, str(file).lstrip("/"))
        for name, target in sorted(links.items()):
            if f"/{name}" != target:
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, target
                archive.addfile(link)
        content = mark.encode()
        info = tarfile.TarInfo("mark")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
