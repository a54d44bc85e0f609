"""The client of registries: tokens, retries, redirects, parts, and errors that say where."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from pathlib import Path

import pytest

import coopery_publish.client as client_module
import coopery_publish.transfer as transfer
import coopery_publish.transport as transport
from coopery.bundles import blob_of
from coopery.errors import MachineError, RecipeError
from coopery.masking import keep_out
from coopery_publish.client import Client
from coopery_publish.fetching import as_reference
from coopery_publish.logins import Login
from coopery_publish.references import is_loopback, parse
from coopery_publish.transfer import Repository

from .conftest import Asked, Speaker

LOGIN = Login("the test", "cooper", "stave-91xq")
BASIC = "Basic " + base64.b64encode(b"cooper:stave-91xq").decode()
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(autouse=True)
def known() -> None:
    """As whoever reads a login makes it."""
    keep_out("stave-91xq")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_DELAYS", (0.0, 0.0, 0.0, 0.0))


def at(speaker: Speaker, login: Login | None = LOGIN) -> Repository:
    return Repository(Client(speaker.host, lambda: login), "team/x")


def slug_of(error: pytest.ExceptionInfo[MachineError]) -> str:
    return error.value.problems[0].slug


def test_basic_credentials_go_only_to_who_asks_for_them(speaker: Speaker) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.headers.get("Authorization") != BASIC:
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
        return 200, {"Content-Type": transfer.MANIFEST}, b"{}"

    speaker.handler = answer
    repository = at(speaker)
    assert repository.digest_of("t") == f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    assert [a.headers.get("Authorization") for a in speaker.asked] == [None, BASIC]
    repository.digest_of("t")
    assert len(speaker.asked) == 3  # it is not asked again who one is


def test_a_token_is_fetched_and_renewed(speaker: Speaker) -> None:
    given: list[str] = []

    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            assert asked.headers["Authorization"] == BASIC
            assert "scope=repository%3Ateam%2Fx%3Apull" in asked.path
            assert "service=casks" in asked.path
            given.append(f"token-{len(given)}")
            return 200, {}, json.dumps({"token": given[-1]}).encode()
        if not given or asked.headers.get("Authorization") != f"Bearer {given[-1]}":
            challenge = f'Bearer realm="http://{speaker.host}/token",service="casks",scope="s"'
            return 401, {"WWW-Authenticate": challenge}, b""
        if len(speaker.asked) == 4:  # it has run out
            given.append("newer")
            return 401, {"WWW-Authenticate": "Bearer"}, b""
        return 200, {}, b"{}"

    speaker.handler = answer
    repository = at(speaker)
    repository.digest_of("t")
    repository.digest_of("t")
    assert len(given) == 3


def test_a_password_is_told_no_realm_without_tls(speaker: Speaker) -> None:
    challenge = 'Bearer realm="http://auth.example/token",service="x"'
    speaker.handler = lambda asked: (401, {"WWW-Authenticate": challenge}, b"")
    with pytest.raises(MachineError, match="without TLS") as error:
        at(speaker).digest_of("t")
    assert "stave-91xq" not in str(error.value)


@pytest.mark.parametrize(
    ("status", "slug"),
    [
        (401, "registry-credentials"),
        (403, "registry-forbidden"),
        (404, "registry-missing"),
        (400, "registry-refused"),
    ],
)
def test_refusals_name_host_repository_and_what_the_registry_says(
    speaker: Speaker, status: int, slug: str
) -> None:
    told = {"errors": [{"code": "DENIED", "message": "no stave-91xq for you"}]}
    headers = {"WWW-Authenticate": 'Basic realm="x"'} if status == 401 else {}
    speaker.handler = lambda asked: (status, headers, json.dumps(told).encode())
    with pytest.raises(MachineError) as error:
        at(speaker).put_manifest(b"{}", transfer.MANIFEST, "t")
    assert slug_of(error) == slug
    text = str(error.value)
    assert speaker.host in text and "team/x" in text and "DENIED" in text
    if status == 401:
        assert "stave-91xq" not in text
    assert error.value.problems[0].hint


def test_what_passes_is_tried_again(speaker: Speaker) -> None:
    answers: list[Answer] = [(503, {"Retry-After": "0"}, b""), (0, {}, b""), (200, {}, b"{}")]
    speaker.handler = lambda asked: answers.pop(0)
    assert at(speaker).digest_of("t") is not None
    speaker.handler = lambda asked: (502, {}, b"<html>")
    with pytest.raises(MachineError, match="502"):
        at(speaker).digest_of("t")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Length": "500"}, b'{"layers": ['),
        ({"Transfer-Encoding": "chunked", "Content-Length": "9"}, b"5\r\nhel"),
    ],
)
def test_an_answer_that_breaks_off_is_asked_for_again(
    speaker: Speaker, headers: dict[str, str], body: bytes, tmp_path: Path
) -> None:
    """Half a manifest under a tag is not taken for a whole one, and half a blob neither."""
    digest = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    answers: list[Answer] = [(200, headers, body), (200, {}, b"{}")] * 3
    speaker.handler = lambda asked: answers.pop(0)
    assert at(speaker).manifest("t") == (b"{}", digest, "")
    assert at(speaker).read_blob(digest, 2) == b"{}"
    at(speaker).save_blob(digest, 2, tmp_path / "x")
    assert not answers
    speaker.handler = lambda asked: (200, headers, body)
    with pytest.raises(MachineError, match="its answer broke off") as error:
        at(speaker).manifest("t")
    assert slug_of(error) == "registry-unreachable"


def test_who_says_nothing_is_not_waited_for_long(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "PATIENCE", 0.2)
    over = threading.Event()

    def answer(asked: Asked) -> Answer:
        over.wait(20)
        return 200, {}, b"{}"

    speaker.handler = answer
    told: list[str] = []
    repository = Repository(Client(speaker.host, lambda: LOGIN, told.append), "team/x")
    try:
        with pytest.raises(MachineError, match="it does not answer"):
            repository.manifest("t")
    finally:
        over.set()
    assert told == [f"again    {speaker.host} in 0 s: it does not answer"]


def test_a_drip_that_never_ends_is_left(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_WHOLE", -1.0)
    speaker.handler = lambda asked: (200, {}, b"{}")
    with pytest.raises(MachineError, match="its answer is not whole"):
        at(speaker).manifest("t")


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (302, {"Location": "http://[bad"}),
        (302, {"Location": "https://" + "a" * 300 + ".example/"}),
        (302, {"Location": "https://x.example:99999999/"}),
        (401, {"WWW-Authenticate": 'Bearer realm="http://[bad",service="x"'}),
        (401, {"WWW-Authenticate": 'Bearer realm="https://[bad",service="x"'}),
    ],
)
def test_addresses_that_are_none(speaker: Speaker, status: int, headers: dict[str, str]) -> None:
    speaker.handler = lambda asked: (status, headers, b"")
    with pytest.raises(MachineError) as error:
        at(speaker).manifest("t")
    assert slug_of(error) in ("registry-unreachable", "registry-refused")


def test_redirects_get_no_credentials(speaker: Speaker) -> None:
    content = b"bytes"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    port = speaker.host.rpartition(":")[2]

    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/elsewhere"):
            assert "Authorization" not in asked.headers
            return 200, {}, content
        if "Authorization" not in asked.headers:
            return 401, {"WWW-Authenticate": "Basic realm=x"}, b""
        return 307, {"Location": f"http://localhost:{port}/elsewhere?sig=1"}, b""

    speaker.handler = answer
    assert b"".join(at(speaker).get_blob(digest, len(content))) == content


def test_a_redirect_away_from_tls_is_refused(speaker: Speaker) -> None:
    speaker.handler = lambda asked: (302, {"Location": "http://other.example/x"}, b"")
    with pytest.raises(MachineError, match="without TLS"):
        at(speaker).digest_of("t")


@pytest.mark.parametrize("given", [b"other", b"longer than it should be", b""])
def test_bytes_are_those_of_the_digest(speaker: Speaker, given: bytes, tmp_path: Path) -> None:
    digest = f"sha256:{hashlib.sha256(b'bytes').hexdigest()}"
    speaker.handler = lambda asked: (200, {}, given)
    with pytest.raises(MachineError, match="other bytes"):
        at(speaker).save_blob(digest, 5, tmp_path / "x")
    with pytest.raises(MachineError, match="another manifest"):
        at(speaker).manifest(digest)


def test_large_blobs_go_in_parts_and_begin_anew(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "CHUNK", 10)
    blob = blob_of(b"0123456789abcdefghijklmno", "x/y")
    parts: list[bytes] = []
    uploads = 0

    def answer(asked: Asked) -> Answer:
        nonlocal uploads
        match asked.method:
            case "HEAD":
                return 404, {}, b""
            case "POST":
                uploads += 1
                parts.clear()
                return 202, {"Location": f"/v2/team/x/blobs/uploads/{uploads}?s=a"}, b""
            case "PATCH" if uploads == 1 and parts:
                return 404, {}, b""  # the registry was started anew, and knows nothing of it
            case "PATCH":
                begin = sum(map(len, parts))
                end = begin + len(asked.body) - 1
                assert asked.headers["Content-Range"] == f"{begin}-{end}"
                parts.append(asked.body)
                return 202, {"Location": f"{asked.path}b"}, b""
        assert f"digest={blob.digest.replace(':', '%3A')}" in asked.path
        return 201, {}, b""

    speaker.handler = answer
    repository = at(speaker)
    assert repository.put_blob(blob)
    assert parts == [b"0123456789", b"abcdefghij", b"klmno"] and uploads == 2


def test_what_another_repository_has_is_mounted(speaker: Speaker) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.method == "HEAD":
            return 404, {}, b""
        assert asked.method == "POST" and "mount=sha256" in asked.path and "from=team" in asked.path
        return 201, {}, b""

    speaker.handler = answer
    assert at(speaker).put_blob(blob_of(b"x", "x/y"), mount_from="team/other") is False


def test_where_there_is_no_tls_nothing_is_said() -> None:
    with pytest.raises(MachineError, match="cannot be reached") as error:
        Client("localhost:1", lambda: None).ask("GET", "/v2/", "x")
    assert slug_of(error) == "registry-unreachable"
    assert is_loopback("127.0.0.9:5000") and is_loopback("[::1]:5000") and is_loopback("localhost")
    assert not is_loopback("127.example:5000") and not is_loopback("10.0.0.1")
    assert Client("registry.example", lambda: None).url("/v2/") == "https://registry.example/v2/"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("localhost:5000/a/b:t", "localhost:5000/a/b:t"),
        ("python:3.11", "docker.io/library/python:3.11"),
        ("team/x", "docker.io/team/x"),
        ("h.example/x@sha256:" + "0" * 64, "h.example/x@sha256:" + "0" * 64),
    ],
)
def test_references(text: str, said: str) -> None:
    assert str(parse(text)) == said


@pytest.mark.parametrize(
    "text", ["", "h.example/X", "h.example/../x", "h.example/x@sha256:1", "/x"]
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|small letters"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("h.example/x@sha256:" + "0" * 63, "expected HOST/NAME"),
        ("h.example/x@sha256:" + "0" * 65, "expected HOST/NAME"),
        ("h.example:5000/X/y:1", "small letters"),
        ("h.example/x:1", None),
        ("folder.d/recipe@2.toml", None),
        ("some/recipe.toml", None),
    ],
)
def test_what_f_names(text: str, said: str | None) -> None:
    """A digit too few is told as that, not as a file that is not there."""
    if said is None:
        found = as_reference(text)
        assert (found is not None) == text.startswith("h.")
        return
    with pytest.raises(RecipeError, match=said) as error:
        as_reference(text)
    assert error.value.problems[0].slug == "bad-reference"


def test_tls_is_verified_by_the_ca_that_one_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ssl
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    import engines

    engines.make_certificates(tmp_path / "own")

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answering)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own/server.pem", tmp_path / "own/server-key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_address[1]}"
    try:
        with pytest.raises(MachineError) as error:
            Repository(Client(host, lambda: LOGIN), "team/x").digest_of("t")
        told = str(error.value)
        assert "is not trusted" in told and f"/etc/docker/certs.d/{host}/ca.crt" in told
        transport._opener.cache_clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own/ca.pem"))
        assert Repository(Client(host, lambda: LOGIN), "team/x").digest_of("t")
    finally:
        transport._opener.cache_clear()
        server.shutdown()
        server.server_close()
