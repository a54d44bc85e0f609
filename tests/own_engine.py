"""An engine of the tests' own, which can be killed, run dry of disk, and started again.

It has namespaces of its own for processes, mounts and network: a kill of them all at once is what a
machine's failure is, and afterwards nothing of it is left outside its folder. There is a bridge as
everywhere, but it leads nowhere.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

PATIENCE = 30.0
"""Seconds in which it must answer, and in which what was killed must have ended."""
_FIRST = """
mkdir -p /run/containerd
mount -t tmpfs tmpfs /run/containerd
{mount}
echo ready
while :; do sleep 1000; done
"""
"""What the first process does: a shell, since somebody must wait for orphans."""
_MEMORY = 4 << 30
"""Bytes that must be free there, for it to be kept in memory."""
_WANTED = ("dockerd", "containerd", "unshare", "nsenter")


class NoOwnEngine(Exception):
    """None can be started here."""


class OwnEngine:
    """A dockerd in a folder; `size` is of a disk for all that it keeps, as tmpfs says it.

    Such a disk goes with `fail`. Whoever makes an engine closes it.
    """

    def __init__(self, *, size: str | None = None) -> None:
        missing = [name for name in _WANTED if shutil.which(name) is None]
        if os.geteuid() != 0 or missing:
            raise NoOwnEngine(f"only root can start one, with {', '.join(_WANTED)}")
        # Short, since the path of a socket may not be long; in memory, since that is quick.
        memory = Path("/dev/shm")
        quick = memory.is_dir() and shutil.disk_usage(memory).free > _MEMORY
        self.folder = Path(tempfile.mkdtemp(prefix="ce-", dir=memory if quick else "/tmp"))
        self.data = self.folder / "data"
        self.data.mkdir()
        self.address = f"unix://{self.folder}/s"
        self._mount = f"mount -t tmpfs -o size={size} tmpfs {self.data}" if size else ""
        self._cgroup = f"/coopery-{self.folder.name}"
        self._first: subprocess.Popen[str] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start what is not running. Raises NoOwnEngine."""
        if self._first is None or self._first.poll() is not None:
            self._boot()
        if self._daemon is not None and self._daemon.poll() is None:
            return
        for name in ("s", "pid"):  # as on a machine that has started again
            (self.folder / name).unlink(missing_ok=True)
        words = ["dockerd", f"--data-root={self.data}", f"--exec-root={self.folder}/x"]
        words += ["--host", self.address, f"--pidfile={self.folder}/pid"]
        words += ["--cgroup-parent", self._cgroup]
        enter = ["nsenter", "--target", str(self._inner), "--mount", "--net", "--pid"]
        with (self.folder / "log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [*enter, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if time.monotonic() > deadline or self._daemon.poll() is not None:
                raise NoOwnEngine(f"dockerd did not start:\n{self.log[-2000:]}")
            time.sleep(0.02)

    def _boot(self) -> None:
        with suppress(FileNotFoundError):  # it lies in memory where there is a real machine
            shutil.rmtree(self.folder / "x")
        words = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._first = subprocess.Popen(
            [*words, "sh", "-ec", _FIRST.format(mount=self._mount)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._first.stdout is not None and self._first.stderr is not None
        if self._first.stdout.readline() != "ready\n":
            raise NoOwnEngine(f"no namespaces can be made: {self._first.stderr.read()}")
        self._inner = _child(self._first.pid)

    def _answers(self) -> bool:
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        try:
            return bool(self.client.ping())
        except (DockerException, RequestException, OSError):
            return False

    @cached_property
    def client(self) -> Any:
        """The SDK's client of it, once it runs."""
        import docker

        return docker.APIClient(self.address, version="auto", timeout=PATIENCE)

    @property
    def log(self) -> str:
        """What the daemon said."""
        return (self.folder / "log").read_text("utf-8", "replace")

    @property
    def disk(self) -> Path:
        """The disk that it keeps all on, as it is seen from outside."""
        return Path(f"/proc/{self._inner}/root{self.data}")

    def crash(self) -> None:
        """Kill the daemon alone: containers go on, and nobody looks after them."""
        assert self._daemon is not None
        with suppress(FileNotFoundError, ProcessLookupError, IndexError):  # it is dead already
            os.kill(_child(self._daemon.pid), signal.SIGKILL)
        self._daemon.wait(PATIENCE)

    def fail(self) -> None:
        """Kill all at once, as when the machine fails."""
        if self._first is None:
            return
        if self._first.poll() is None:
            os.kill(self._inner, signal.SIGKILL)
        self._first.communicate(timeout=PATIENCE)
        if self._daemon is not None:
            self._daemon.wait(PATIENCE)

    def load(self, source: Any, *names: str) -> None:
        """Take images over from another engine, whose client `source` is."""
        for name in names:
            self.client.load_image(source.get_image(name))

    def build(self, packed: bytes, *, buildkit: bool, network: str = "default") -> str:
        """Build an archive (.tar.gz) as plain `docker build` does; the image's name."""
        import json

        name = f"plain:{secrets.token_hex(4)}"
        version = "2" if buildkit else "1"
        response = self.client._post(
            self.client._url("/build"),
            data=packed,
            params={"t": name, "version": version, "networkmode": network, "rm": True},
            headers={"Content-Type": "application/x-tar", "Content-Encoding": "gzip"},
            timeout=None,
        )
        told = [json.loads(line) for line in response.text.splitlines()]
        assert response.status_code == 200 and not any("error" in line for line in told), told
        return name

    def run(self, image: str, *command: str) -> str:
        """What a command prints in a container of an image, which is removed; it must end well."""
        config = self.client.create_host_config(network_mode="none")
        made = self.client.create_container(image, entrypoint=list(command), host_config=config)
        try:
            said = self.client.attach(made, stdout=True, stderr=True, stream=True)
            self.client.start(made)
            text = b"".join(said).decode()
            assert self.client.wait(made)["StatusCode"] == 0, text
            return text
        finally:
            self.client.remove_container(made, force=True)

    def close(self) -> None:
        """End it, and remove all that it had."""
        self.fail()
        if "client" in self.__dict__:
            self.client.close()
        for top in Path("/sys/fs/cgroup").glob(f"*{self._cgroup}"):
            for folder in sorted((top, *top.rglob("*/")), reverse=True):
                if folder.is_dir():
                    folder.rmdir()
        shutil.rmtree(self.folder)


def _child(pid: int) -> int:
    """The one child of a process."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()[0])


@contextmanager
def running(*, size: str | None = None) -> Iterator[OwnEngine]:
    """An engine while this lasts. Raises NoOwnEngine."""
    engine = OwnEngine(size=size)
    try:
        engine.start()
        yield engine
    finally:
        engine.close()


Running = Callable[..., OwnEngine]
