"""Git repositories with Python packages, and real servers of them on loopback.

`serve_http` puts git's own http backend behind a small server with basic authentication;
`serve_ssh` starts an sshd with keys of its own. Both serve every bare repository in a folder.
"""

from __future__ import annotations

import base64
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

_WHO = {
    "GIT_AUTHOR_NAME": "Cooper", "GIT_AUTHOR_EMAIL": "cooper@example.org",
    "GIT_COMMITTER_NAME": "Cooper", "GIT_COMMITTER_EMAIL": "cooper@example.org",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip
_BACKEND = """
import pathlib, re, zipfile

def _all():
    text = pathlib.Path("pyproject.toml").read_text()
    def one(key):
        return re.search(f'^{key} = "(.*)"$', text, re.M).group(1)
    lines = re.findall(r"^    '(.*)',$", text, re.M)
    extras = dict(re.findall(r"^extra-([a-z]+) = '(.*)'$", text, re.M))
    meta = f"Metadata-Version: 2.1\\nName: {one('name')}\\nVersion: {one('version')}\\n"
    meta += "".join(f"Requires-Dist: {line}\\n" for line in lines)
    for extra, line in extras.items():
        meta += f"Provides-Extra: {extra}\\nRequires-Dist: {line} ; extra == '{extra}'\\n"
    stem = f"{one('name').replace('-', '_')}-{one('version')}"
    return stem, meta

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    import base64, hashlib
    stem, meta = _all()
    files = {str(p): p.read_bytes() for p in pathlib.Path(".").glob("**/*.py")
             if p.name not in ("own_backend.py",) and ".git" not in p.parts}
    files[f"{stem}.dist-info/METADATA"] = meta.encode()
    tags = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{stem}.dist-info/WHEEL"] = tags.encode()
    record = ""
    wheel = pathlib.Path(wheel_directory) / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record += f"{name},sha256={digest.decode()},{len(content)}\\n"
        archive.writestr(f"{stem}.dist-info/RECORD", record + f"{stem}.dist-info/RECORD,,\\n")
    return f"{stem}-py3-none-any.whl"
"""
"""A build backend without requirements, so that no index is asked."""


def package_files(
    name: str,
    version: str = "1.0",
    requires: Sequence[str] = (),
    extras: Mapping[str, str] | None = None,
    says: str = "",
) -> dict[str, str]:
    """The files of a small package, whose module `NAME.py` has a text `SAYS`."""
    lines = "".join(f"    '{line}',\n" for line in requires)
    more = "".join(f"extra-{extra} = '{line}'\n" for extra, line in (extras or {}).items())
    module = name.replace("-", "_")
    return {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "own_backend"\n'
        f'backend-path = ["."]\n\n[tool.own]\nname = "{name}"\nversion = "{version}"\n'
        f"requires = [\n{lines}]\n{more}",
        "own_backend.py": _BACKEND,
        f"{module}.py": f"SAYS = {says or f'{name} {version}'!r}\n",
    }


@dataclass(frozen=True)
class GitRepository:
    """A bare repository in a folder that is served, and a work tree beside it to commit in."""

    bare: Path
    tree: Path

    def git(self, *arguments: str) -> str:
        """What git says in the work tree."""
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *arguments],
            cwd=self.tree,
            env={**os.environ, **_WHO},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"git {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str], *, below: str = "") -> str:
        """Commit files and push all branches and tags; the commit."""
        for name, text in files.items():
            path = self.tree / below / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a change")
        return self.push()

    def push(self) -> str:
        """Push all that there is; the commit that HEAD is at."""
        self.git("push", "--quiet", "--force", "--mirror", str(self.bare))
        return self.git("rev-parse", "HEAD")

    def tag(self, name: str, *, annotated: bool = False) -> None:
        """Tag HEAD, and push."""
        self.git("tag", *(["-a", "-m", name] if annotated else []), name)
        self.push()


def make_repository(folder: Path, name: str) -> GitRepository:
    """An empty repository `NAME.git` in a folder to be served, whose branch is `main`."""
    bare, tree = folder / f"{name}.git", folder.parent / f"{folder.name}-trees" / name
    tree.mkdir(parents=True)
    found = GitRepository(bare, tree)
    for where, more in ((bare, ["--bare"]), (tree, [])):
        command = ["git", "init", "--quiet", "--initial-branch=main", "--template=", *more]
        subprocess.run([*command, str(where)], env={**os.environ, **_WHO}, check=True)
    return found


@dataclass
class HttpServer:
    """A server that is running: its `host`, with the port, and the paths that it was asked for."""

    host: str
    folder: Path
    scheme: str = "http"
    asked: list[str] = field(default_factory=list)
    logins: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By repository, its user and password; `*` stands for all others. A user may be empty: any."""

    def url(self, name: str) -> str:
        """The URL of a repository in the folder."""
        return f"{self.scheme}://{self.host}/{name}.git"


@contextmanager
def serve_http(
    folder: Path,
    logins: Mapping[str, tuple[str, str]] | None = None,
    certificate: Path | None = None,
) -> Iterator[HttpServer]:
    """Serve the repositories in a folder over http until the end of the `with`; over https, with
    a `certificate` and its key in one file.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Backend)
    host = f"127.0.0.1:{server.server_port}"
    found = HttpServer(host=host, folder=folder, logins=dict(logins or {}))
    server.state = found  # type: ignore[attr-defined]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        found.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def make_certificate(file: Path) -> Path:
    """A certificate of 127.0.0.1 that it signs itself, with its key, in one file."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(file), "-out", f"{file}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    with file.open("a") as whole:
        whole.write(Path(f"{file}.crt").read_text("utf-8"))
    return file


class _Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        state: HttpServer = self.server.state  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        state.asked.append(self.path)
        body = self._body()
        name = unquote(parts.path).lstrip("/").partition(".git/")[0]
        login = state.logins.get(name, state.logins.get("*"))
        if login is not None and not self._knows(login):
            self._send(401, [("WWW-Authenticate", 'Basic realm="git"')], b"")
            return
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(state.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": unquote(parts.path),
            "QUERY_STRING": parts.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=environ, capture_output=True, check=False
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        lines = (line.partition(":") for line in head.decode().split("\r\n") if line)
        headers = {key: value.strip() for key, _, value in lines}
        status = int(headers.pop("Status", "200").split()[0])
        self._send(status, list(headers.items()), content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _knows(self, login: tuple[str, str]) -> bool:
        kind, _, encoded = self.headers.get("Authorization", "").partition(" ")
        if kind != "Basic":
            return False
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        return password == login[1] and user == (login[0] or user)

    def _send(self, status: int, headers: Sequence[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@dataclass(frozen=True)
class SshServer:
    """An sshd that is running. `known_hosts` has its key, and `config` logs in with `key`."""

    port: int
    folder: Path
    user: str
    key: Path
    known_hosts: Path

    def url(self, name: str) -> str:
        """The URL of a repository in the folder."""
        return f"ssh://{self.user}@127.0.0.1:{self.port}{self.folder}/{name}.git"

    @property
    def variables(self) -> dict[str, str]:
        """Variables with which ssh knows the server and logs in to it."""
        known = f"-o UserKnownHostsFile={self.known_hosts} -o StrictHostKeyChecking=yes"
        return {"GIT_SSH_COMMAND": f"ssh -F none -i {self.key} -o IdentitiesOnly=yes {known}"}


def sshd_program() -> str | None:
    """The path of sshd; None where it is not installed."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def serve_ssh(folder: Path, scratch: Path) -> Iterator[SshServer]:
    """Serve the repositories in a folder over ssh until the end of the `with`."""
    program = sshd_program()
    assert program is not None, "install openssh-server"
    scratch.mkdir(parents=True, exist_ok=True)
    for name in ("host", "user"):
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(scratch / name)]
        subprocess.run(keygen, check=True)
    keys = scratch / "authorized_keys"
    shutil.copyfile(scratch / "user.pub", keys)
    keys.chmod(0o600)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    config = scratch / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {scratch / 'host'}\n"
        f"AuthorizedKeysFile {keys}\nStrictModes no\nPasswordAuthentication no\n"
        f"KbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin yes\n"
        f"PidFile {scratch / 'pid'}\nAcceptEnv GIT_PROTOCOL\n",
        "utf-8",
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = scratch / "log"
    command = [program, "-D", "-f", str(config), "-E", str(log)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    public = (scratch / "host.pub").read_text("utf-8")
    (scratch / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}", "utf-8")
    try:
        _wait_for(port, process, log)
        user = pwd.getpwuid(os.geteuid()).pw_name
        yield SshServer(port, folder, user, scratch / "user", scratch / "known_hosts")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"sshd does not start: {log.read_text() if log.exists() else ''}")


__all__ = [
    "GitRepository",
    "HttpServer",
    "SshServer",
    "make_certificate",
    "make_repository",
    "package_files",
    "serve_http",
    "serve_ssh",
    "sshd_program",
]
