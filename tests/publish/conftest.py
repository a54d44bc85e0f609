"""Recipes that need no engine to be bundled, and registries that a test speaks for itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import registries

from coopery.testing import Project, make_project

Handler = Callable[["Asked"], tuple[int, dict[str, str], bytes]]
DIGEST = "sha256:" + "5" * 64
RECIPE = f"""
[image.plain]
prebuilt = {{ reference = "quay.example/team/plain@{DIGEST}", platform = "linux/amd64" }}

[task.fit]
image = "plain"
command = ["sh", "-c", "cat {{inputs.raw}} > {{outputs.model}}"]
inputs.raw = "data/raw.txt"
outputs.model = "out/model.txt"
"""
"""A recipe whose image is named by its digest, so that publishing its task asks no engine."""


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: Any
    body: bytes


@dataclass
class Speaker:
    """A registry that answers as a test says; `asked` is what it was asked."""

    host: str
    handler: Handler = lambda asked: (404, {}, b"")
    asked: list[Asked] = field(default_factory=list)


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    """A registry on loopback whose answers are a test's own."""

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            asked = Asked(self.command, self.path, self.headers, self.rfile.read(size))
            found.asked.append(asked)
            status, headers, body = found.handler(asked)
            if status == 0:
                self.connection.close()
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _answer

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    found = Speaker(f"127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def bundled(project: Project) -> Project:
    """A project with a task that can be bundled without an engine."""
    project.write("recipe.toml", RECIPE)
    project.write("data/raw.txt", "staves\n")
    return project


@pytest.fixture
def logged_in(tmp_path: Path, registry: registries.Registry) -> dict[str, str]:
    """The variables of somebody who has logged in at the registry with `docker login`."""
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(registry.auths()))
    return {"DOCKER_CONFIG": str(folder)}


@pytest.fixture
def logged_out(tmp_path: Path) -> dict[str, str]:
    """The variables of somebody who is nowhere logged in."""
    folder = tmp_path / "nobody"
    folder.mkdir()
    return {"DOCKER_CONFIG": str(folder)}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Project:
    """Another folder with another home, as on another machine."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return make_project(folder)
