"""Real engines of a test's own: Podman's service, and a Docker daemon that wants TLS."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import registries

_SECONDS = 60


class CannotRun(Exception):
    """Such an engine cannot be had on this machine; why."""


@dataclass(frozen=True)
class Daemon:
    """A Docker daemon in a network of its own, where it listens at `address` for those who have
    the certificates in `certificates`; of `strangers` it knows nothing.
    """

    pid: int
    address: str
    certificates: Path
    strangers: Path
    api: str

    @property
    def entering(self) -> list[str]:
        """What a command must begin with to be in that network."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net"]


@contextmanager
def podman(folder: Path) -> Iterator[str]:
    """Podman's service with storage of its own; its address. `folder` must have a short path.

    Raises CannotRun.
    """
    _needs("podman", "runc")
    if os.geteuid() != 0:
        raise CannotRun("without root it would want subordinate users")
    config = folder / "containers.conf"
    # What a machine without systemd, and without the right to raise limits, can do.
    config.write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )
    places = [f"--{name}={folder / name}" for name in ("root", "runroot", "tmpdir")]
    address = f"unix://{folder}/s"
    command = ["podman", *places, "system", "service", "--time=0", address]
    env = {**os.environ, "CONTAINERS_CONF": str(config)}
    with _started(command, folder / "log", env=env, cwd=folder) as process:
        _until(lambda: (folder / "s").exists(), process, folder / "log")
        try:
            yield address
        finally:
            table = Path("/proc/self/mountinfo").read_text()
            mounts = [line.split()[4] for line in table.splitlines()]
            for mount in reversed([m for m in mounts if m.startswith(f"{folder}/")]):
                subprocess.run(["umount", "--lazy", mount], check=False)


@contextmanager
def docker_with_tls(folder: Path) -> Iterator[Daemon]:
    """A Docker daemon that is reached by TLS only, and has the image `small:1`.

    Raises CannotRun.
    """
    import docker

    _needs("dockerd", "unshare", "nsenter", "ip", "openssl")
    if os.geteuid() != 0:
        raise CannotRun("only root can start one")
    own, strangers = folder / "own", folder / "strangers"
    for made in (own, strangers):
        make_certificates(made)
    address = "tcp://127.0.0.1:2376"
    words = [
        "dockerd",
        f"--host=unix://{folder}/s",
        f"--host={address}",
        *(f"--{name}={folder / name}" for name in ("data-root", "exec-root", "pidfile")),
        *("--iptables=false", "--tlsverify", f"--tlscacert={own}/ca.pem"),
        *(f"--tlscert={own}/server.pem", f"--tlskey={own}/server-key.pem"),
    ]
    # In the network of the other daemon it would take away its bridge.
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', *words]
    with _started(command, folder / "log") as process:
        _until(lambda: (folder / "s").exists(), process, folder / "log")
        client = docker.APIClient(f"unix://{folder}/s", version="auto", timeout=_SECONDS)
        client.import_image_from_data(registries.small_image("tls\n"), repository="small", tag="1")
        api = str(client.api_version)
        client.close()
        yield Daemon(process.pid, address, own, strangers, api)


def make_certificates(folder: Path) -> None:
    """An authority, and what it signed: a server at 127.0.0.1, and a client; named as Docker
    names them.
    """
    folder.mkdir()
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl(folder, *new, "-x509", "-subj", "/CN=tests", "-keyout", "ca-key.pem", "-out", "ca.pem")
    for name, key, use in (("server", "server-key", "server"), ("cert", "key", "client")):
        (folder / "extra").write_text(f"subjectAltName=IP:127.0.0.1\nextendedKeyUsage={use}Auth\n")
        asked = ["-subj", f"/CN={name}", "-keyout", f"{key}.pem", "-out", "asked"]
        _openssl(folder, *new, *asked)
        signed = ["-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-extfile", "extra"]
        _openssl(folder, "x509", "-req", "-in", "asked", *signed, "-out", f"{name}.pem")


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def _needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise CannotRun(f"there is no {program}")


@contextmanager
def _started(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env, cwd=cwd
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(true: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            raise CannotRun(log.read_text("utf-8", "replace")[-500:])
        time.sleep(0.05)


def copy_image(source: Any, target: Any, name: str) -> None:
    """Bring an image from one engine to another, under its name."""
    data = b"".join(source.get_image(name))
    target.load_image(data)
