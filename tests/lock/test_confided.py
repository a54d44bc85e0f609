"""Credentials of indexes: uv alone gets them, and nothing that it starts."""

from __future__ import annotations

import base64
import http.server
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from searching import spellings

from coopery.dependencies import IndexOptions
from coopery.errors import CooperyError
from coopery.installing import installer
from coopery.model import Index, Secret
from coopery.secrets import Secrets

USER, PASSWORD = "cooper", "s3cr+t p@ss #\"'${HOME}"

SPIES = """
import json, os, pathlib

def prepare_metadata_for_build_wheel(target, settings=None):
    seen = {}
    number = os.getpid()
    while number > 1:
        for name in ("cmdline", "environ"):
            try:
                content = pathlib.Path(f"/proc/{number}/{name}").read_bytes()
            except OSError:
                continue
            seen[f"{number} {name}"] = content.decode("utf-8", "surrogateescape")
        stat = pathlib.Path(f"/proc/{number}/stat").read_text()
        number = int(stat.rpartition(")")[2].split()[1])
    for name in os.listdir("/proc/self/fd"):
        try:
            kind = os.readlink(f"/proc/self/fd/{name}")
            if kind.startswith("pipe:") and int(name) > 2:
                os.set_blocking(int(name), False)
                seen[f"pipe {name}"] = os.read(int(name), 65536).decode()
        except OSError:
            continue
    with open(REPORT, "w") as file:
        json.dump(seen, file)
    info = pathlib.Path(target) / "spy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: spy\\nVersion: 1.0\\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\\nTag: py3-none-any\\n")
    return info.name

def build_wheel(target, settings=None, metadata=None):
    import zipfile
    info = prepare_metadata_for_build_wheel(target)
    with zipfile.ZipFile(pathlib.Path(target) / "spy-1.0-py3-none-any.whl", "w") as archive:
        for file in (pathlib.Path(target) / info).iterdir():
            archive.write(file, f"{info}/{file.name}")
        archive.writestr(f"{info}/RECORD", "")
    return "spy-1.0-py3-none-any.whl"
"""


@contextmanager
def serving(shelves: dict[str, tuple[Path, str, str]]) -> Iterator[str]:
    """One host with an index for each name, `/NAME/simple/`, of a folder, a user and a password."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, shelf, *rest = self.path.rstrip("/").split("/")
            folder, user, password = shelves[shelf]
            login = base64.b64encode(f"{user}:{password}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {login}":
                return self.answer(401, b"")
            file = folder / rest[-1]
            if rest[0] == "files":
                return self.answer(200, file.read_bytes())
            stem = rest[-1].replace("-", "_")
            names = [f.name for f in folder.iterdir() if len(rest) == 1 or f.name.startswith(stem)]
            links = "".join(f'<a href="/{shelf}/files/{n}">{n}</a>' for n in names)
            return self.answer(200 if names else 404, links.encode())

        def do_HEAD(self) -> None:
            self.do_GET()

        def answer(self, code: int, content: bytes) -> None:
            self.send_response(code)
            if code == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")


@pytest.fixture
def spied(bench: Any, sdist: Any, tmp_path: Path, online: None) -> Iterator[tuple[str, Path]]:
    """An index with the sdist `spy`: its host, and where what its backend found will be."""
    report = tmp_path / "seen.json"
    sdist(bench.index, "spy", "1.0", f"REPORT = {str(report)!r}\n{SPIES}")
    with serving({"one": (bench.index, USER, PASSWORD)}) as host:
        yield host, report


def nothing_seen(report: Path) -> None:
    seen = json.loads(report.read_text())
    assert any("uv" in text for key, text in seen.items() if key.endswith("cmdline"))
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    known = [*spellings(PASSWORD), login.encode(), quote(PASSWORD).encode()]
    texts = {key: text.encode("utf-8", "surrogateescape") for key, text in seen.items()}
    assert [key for key, text in texts.items() if any(form in text for form in known)] == []


@pytest.mark.parametrize("where", ["pip.conf", "recipe", "requirements", "links", "uv.toml"])
def test_a_build_backend_finds_nothing_of_a_credential(
    bench: Any, spied: tuple[str, Path], tmp_path: Path, monkeypatch: Any, where: str
) -> None:
    host, report = spied
    login = f"{USER}:{quote(PASSWORD, safe='')}@"
    url = f"http://{login}{host}/one/simple/"
    bench.secrets["INDEX"] = PASSWORD
    bench.image("spy", "alpha")
    match where:
        case "recipe" | "uv.toml":
            index = Index(
                url=f"http://{host}/one/simple/", username=USER, password=Secret(name="INDEX")
            )
            recipe_index(bench, monkeypatch, IndexOptions(named=(index,)))
            if where == "uv.toml":
                (bench.root / "uv.toml").write_text('index-url = "http://127.0.0.1:9/simple"\n')
                monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:9/other")
        case "requirements":
            line = f"-i http://{USER}:${{INDEX}}@{host}/one/simple/\n"
            bench.image(requirements=f"{line}spy\nalpha\n")
        case "links":
            file = tmp_path / "pip.conf"
            file.write_text(f"[global]\nno-index = true\nfind-links = {url}\n")
            monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
        case _:
            file = tmp_path / "pip.conf"
            file.write_text(f"[global]\nindex-url = {url}\n")
            monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    lock = bench.lock()
    assert [pin.requirement for pin in lock.pins["a"]] == ["alpha==2.0", "spy==1.0"]
    nothing_seen(report)


@pytest.mark.parametrize(
    ("variables", "uv_toml"),
    [
        ({"PIP_INDEX_URL": "http://LOGIN@HOST"}, ""),
        ({"UV_INDEX_URL": "http://LOGIN@HOST"}, ""),
        ({"UV_INDEX_URL": "http://LOGIN@HOST"}, "index-url = 'http://127.0.0.1:9/simple'"),
        ({"UV_DEFAULT_INDEX": "mine=http://LOGIN@HOST"}, ""),
        ({"UV_DEFAULT_INDEX": "my.index=http://HOST", "UV_INDEX_MY_INDEX": ""}, ""),
        ({"UV_INDEX": "mine=http://HOST", "UV_INDEX_MINE": ""}, ""),
        ({"UV_INDEX": "http://EMPTY http://LOGIN@HOST"}, ""),
        ({"UV_EXTRA_INDEX_URL": "http://LOGIN@HOST http://EMPTY"}, ""),
        ({"UV_FIND_LINKS": "http://EMPTY,http://LOGIN@HOST"}, ""),
        ({"UV_INDEX_MINE": ""}, "[[index]]\nname = 'mine'\nurl = 'http://HOST'\ndefault = true"),
        ({"UV_INDEX_MINE": ""}, "[[index]]\nname = 'mine'\nurl = 'http://HOST'"),
    ],
)
def test_a_build_backend_does_not_inherit_what_the_user_exported(
    bench: Any,
    spied: tuple[str, Path],
    monkeypatch: Any,
    tmp_path: Path,
    variables: dict[str, str],
    uv_toml: str,
) -> None:
    """uv is told it like all other credentials, and finds what it would have found."""
    host, report = spied
    (tmp_path / "nothing").mkdir()
    login = f"{USER}:{quote(PASSWORD, safe='')}"

    def filled(text: str) -> str:
        text = text.replace("HOST", f"{host}/one/simple/").replace("LOGIN", login)
        return text.replace("http://EMPTY", (tmp_path / "nothing").as_uri())

    if not any(name.endswith(("DEFAULT_INDEX", "INDEX_URL")) for name in variables):
        monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "nothing").as_uri())
    if "default" in uv_toml:
        monkeypatch.delenv("UV_DEFAULT_INDEX")
    for name, value in variables.items():
        if value:
            monkeypatch.setenv(name, filled(value))
        else:
            monkeypatch.setenv(f"{name}_USERNAME", USER)
            monkeypatch.setenv(f"{name}_PASSWORD", PASSWORD)
    (bench.root / "uv.toml").write_text(filled(uv_toml))
    bench.image("spy", "alpha")
    lock = bench.lock()
    assert [pin.requirement for pin in lock.pins["a"]] == ["alpha==2.0", "spy==1.0"]
    nothing_seen(report)


def test_a_password_opens_no_index_that_is_not_asked(
    bench: Any, spied: tuple[str, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    """An explicit index of uv's files, or a default one that the recipe replaces, stays apart."""
    host, _ = spied
    monkeypatch.setenv("UV_INDEX_MINE_USERNAME", USER)
    monkeypatch.setenv("UV_INDEX_MINE_PASSWORD", PASSWORD)
    (tmp_path / "nothing").mkdir()
    empty = Index(url=(tmp_path / "nothing").as_uri())
    url = f"http://{host}/one/simple/"
    bench.image("spy")
    recipe_index(bench, monkeypatch, IndexOptions(named=(empty,)))
    for kind in ("explicit", "default"):
        text = f"[[index]]\nname = 'mine'\nurl = '{url}'\n{kind} = true\n"
        (bench.root / "uv.toml").write_text(text)
        with pytest.raises(CooperyError, match="spy"):
            bench.lock()


def recipe_index(bench: Any, monkeypatch: Any, options: IndexOptions) -> None:
    """A recipe's own indexes, as the image would bring them."""
    from dataclasses import replace

    sets = [replace(found, index=options) for found in bench.sets()]
    monkeypatch.setattr(bench, "sets", lambda: sets)


def test_an_installation_tells_a_build_backend_nothing(
    bench: Any, spied: tuple[str, Path], tmp_path: Path
) -> None:
    host, report = spied
    index = Index(url=f"http://{host}/one/simple/", username=USER, password=Secret(name="INDEX"))
    uv = installer(
        IndexOptions(named=(index,)),
        tmp_path,
        log=tmp_path / "log",
        folder=tmp_path,
        cancelled=threading.Event(),
        secrets=Secrets(lambda secret: PASSWORD),
    )
    assert PASSWORD not in repr(uv)
    target = str(tmp_path / "installed")
    for name in ("spy", "alpha"):  # and once more: each is told anew
        failed = uv.run("pip", "install", "--target", target, *uv.flags, "--", name)
        assert failed is None, failed.said
    nothing_seen(report)
    assert PASSWORD not in (tmp_path / "log").read_text()


def test_a_host_with_an_index_for_each_of_two_users(
    bench: Any, wheel: Any, tmp_path: Path, online: None, monkeypatch: Any
) -> None:
    for name in ("left", "right"):
        wheel(tmp_path / name, name, "1.0")
    shelves = {
        "one": (tmp_path / "left", "ada", PASSWORD),
        "two": (tmp_path / "right", "bob", "an0ther%20"),
    }
    bench.secrets |= {"LEFT": PASSWORD, "RIGHT": "an0ther%20"}
    bench.image("left", "right")
    with serving(shelves) as host:
        left, right = (f"http://{host}/{name}/simple/" for name in shelves)
        named = (
            Index(url=left, username="ada", password=Secret(name="LEFT")),
            Index(url=right, username="bob", password=Secret(name="RIGHT"), extra=True),
        )
        recipe_index(bench, monkeypatch, IndexOptions(named=named))
        lock = bench.lock()
    assert [pin.requirement for pin in lock.pins["a"]] == ["left==1.0", "right==1.0"]
    assert "an0ther" not in bench.lock_text


def test_what_the_user_tells_uv_stays_as_it_is(
    bench: Any, spied: tuple[str, Path], monkeypatch: Any
) -> None:
    """A variable of uv's own is the user's choice; so is his netrc."""
    host, _ = spied
    monkeypatch.setenv("UV_INDEX", f"mine=http://{host}/one/simple/")
    monkeypatch.setenv("UV_INDEX_MINE_USERNAME", USER)
    monkeypatch.setenv("UV_INDEX_MINE_PASSWORD", PASSWORD)
    monkeypatch.setenv("UV_DEFAULT_INDEX", bench.index.as_uri())
    bench.image("alpha")
    assert bench.lock().pins["a"][0].version == "2.0"


def test_a_netrc_opens_an_index_without_credentials(
    bench: Any, online: None, tmp_path: Path, monkeypatch: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password pl4in\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    bench.image("alpha")
    with serving({"one": (bench.index, "ada", "pl4in")}) as host:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://{host}/one/simple/")
        assert bench.lock().pins["a"][0].version == "2.0"


def test_a_keyring_that_pip_is_to_ask_has_the_password_of_a_user(
    bench: Any, online: None, tmp_path: Path, monkeypatch: Any
) -> None:
    keyring = tmp_path / "bin" / "keyring"
    keyring.parent.mkdir()
    keyring.write_text('#!/bin/sh\ntest "$3" = ada && echo "r1ng"\n')
    keyring.chmod(0o755)
    monkeypatch.setenv("PATH", f"{keyring.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PIP_KEYRING_PROVIDER", "subprocess")
    bench.image("alpha")
    with serving({"one": (bench.index, "ada", "r1ng")}) as host:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://ada@{host}/one/simple/")
        assert bench.lock().pins["a"][0].version == "2.0"


def test_a_constraint_of_uvs_own_holds_beside_credentials(
    bench: Any, spied: tuple[str, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    host, _ = spied
    (tmp_path / "held.txt").write_text("alpha<2\n")
    monkeypatch.setenv("UV_CONSTRAINT", str(tmp_path / "held.txt"))
    login = f"{USER}:{quote(PASSWORD, safe='')}@"
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{login}{host}/one/simple/")
    bench.image("alpha")
    assert bench.lock().pins["a"][0].version == "1.0"


@pytest.mark.parametrize(
    "place",
    [
        "s3cretly@127.0.0.1:99999/simple",
        "s3cretly@ho[st/simple",
        "s3cretly@127.0.0.1:9/%zz${X}",
        "s3cret/ly@127.0.0.1:9/simple",
    ],
)
def test_an_address_that_is_none_tells_no_password(
    bench: Any, online: None, monkeypatch: Any, place: str
) -> None:
    monkeypatch.setenv("X", "x")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://ada:{place}/")
    bench.image("alpha")
    with pytest.raises(CooperyError) as caught:
        bench.lock()
    assert "s3cret" not in str(caught.value) and "/proc/" not in str(caught.value)
