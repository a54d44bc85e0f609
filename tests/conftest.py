"""Fixtures for all tests: a folder with a recipe, the installed command, an index with a lock."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from coopery.testing import Project, make_project

GuardIndex = Callable[[Path, str, str], str]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project with a home folder of its own."""
    return make_project(tmp_path)


@pytest.fixture(scope="session")
def guard_index() -> Iterator[GuardIndex]:
    """Starts pypiservers on loopback over a folder, for one user and password: `host:port`."""
    with ExitStack() as stack:
        yield lambda folder, user, password: stack.enter_context(_serve(folder, user, password))


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def _serve(folder: Path, user: str, password: str) -> Iterator[str]:
    from pypiserver import app

    inner = app(roots=[folder], disable_fallback=True, password_file=".", authenticate=[])
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def outer(environ: Any, start: Any) -> Any:
        if environ.get("HTTP_AUTHORIZATION") != wanted:
            start("401 Unauthorized", [("WWW-Authenticate", "Basic realm=x")])
            return [b""]
        return inner(environ, start)

    with make_server("127.0.0.1", 0, outer, handler_class=_Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
