"""An index that wants a password: packages come from it, and the password goes nowhere."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from coopery.dependencies import IndexOptions
from coopery.errors import MachineError
from coopery_images.dockerfile import dockerfile_of

from .conftest import Bench

USER, PASSWORD = "reader", "s3cr3t/wo?rd"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture
def index(bench: Bench) -> Iterator[str]:
    """An index of the shelf, on loopback; its address."""
    bench.shelf.mkdir(exist_ok=True)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != f"Basic {BASIC}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
                self.end_headers()
                return
            name = self.path.rstrip("/").rpartition("/")[2]
            file = bench.shelf / name
            if file.is_file():
                content = file.read_bytes()
            else:
                found = bench.shelf.glob(f"{name.replace('-', '_')}-*")
                lines = (f'<a href="/files/{f.name}">{f.name}</a>' for f in found)
                content = "\n".join(lines).encode()
            self.send_response(200)
            self.send_header(
                "Content-Type", "text/html" if not file.is_file() else "application/zip"
            )
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "home" / "cache"))
    return monkeypatch


def test_a_password_leaves_no_trace(
    bench: Bench,
    index: str,
    wheel: Callable[..., Path],
    clean: pytest.MonkeyPatch,
    traces: Callable[..., list[str]],
) -> None:
    layer = replace(bench.packages(wheel("alpha"), wheel("gamma")), index=IndexOptions())
    # One from the index that pip is configured with, one by an address of its own.
    [alpha, gamma] = layer.pins
    address = f"http://${{A_USER}}:${{A_PASSWORD}}@{index}/files/gamma-1.0-py3-none-any.whl"
    layer = replace(layer, pins=(alpha, replace(gamma, url=address)))
    clean.setenv("PIP_INDEX_URL", f"http://{USER}:{quote(PASSWORD, safe='')}@{index}/simple")
    clean.setenv("A_USER", USER)
    clean.setenv("A_PASSWORD", quote(PASSWORD, safe=""))
    blueprint = bench.blueprint(layer)
    bench.make(blueprint)
    tree = bench.made["packages science"]
    assert (tree / "env/lib/python3.11/site-packages/alpha.py").exists()
    assert (tree / "env/lib/python3.11/site-packages/gamma.py").exists()
    assert traces(PASSWORD, bench.home) == []
    assert PASSWORD not in dockerfile_of(blueprint)
    told = next(tree.rglob("direct_url.json")).read_text()
    assert f"http://{index}/files/gamma" in told


def test_a_wrong_password_is_told_with_the_host_alone(
    bench: Bench,
    index: str,
    wheel: Callable[..., Path],
    clean: pytest.MonkeyPatch,
    traces: Callable[..., list[str]],
) -> None:
    layer = replace(bench.packages(wheel("alpha")), index=IndexOptions())
    clean.setenv("PIP_INDEX_URL", f"http://{USER}:wrong-{quote(PASSWORD, safe='')}@{index}/simple")
    blueprint = bench.blueprint(layer)
    with pytest.raises(MachineError) as caught:
        bench.make(blueprint)
    [problem] = caught.value.problems
    assert problem.slug == "index-credentials"
    assert index in problem.message
    assert PASSWORD not in str(problem)
    assert quote(PASSWORD, safe="") not in str(problem)
    assert traces(PASSWORD, bench.home) == []
