"""How long images and containers take, beside `docker build` and `docker run` by hand.

    nox -s bench_images -- --repeat 5

The peer is the best Dockerfile that one would write by hand for the same image: uv with a cache
mount, dependencies before sources, built by the engine's BuildKit, or by the classic builder. Ours
and BuildKit have packages in a cache, so that no network is measured. `cold` builds all but the
base; `no-op` changes nothing; `source` edits one line; `package` adds one. Each is measured in
turn, in one session. Then come an edited line upon 0, 50 and 200 MB of dependencies, of a wheel
that is made for it; what commands with nothing to do take of the processor, as multiples of
`python -c pass`; and what a task takes beside `docker run`. The engine must have the base image
`python:3.11-slim`; the peer's has uv beside it, which is not measured. Nothing here asserts
anything about time.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BASE = "python:3.11-slim"
UV_BASE = "coopery-bench-uv"
PEER = "coopery-bench-peer"
PACKAGES = ("numpy", "pandas", "rich")
ADDED = "tabulate"
TASKS = 10
SIZES = (0, 50, 200)
"""Megabytes of dependencies with which an edit is measured."""
BALLAST = "ballast-1.0-py3-none-any.whl"

RECIPE = """
[image.bench]
python = "3.11"
packages = [{packages}]
wheels = [{wheels}]
sources = ["src"]

{tasks}
"""
TASK = """
[task.t{number}]
image = "bench"
command = ["true"]
always = true
"""
HAND = """
FROM coopery-bench-uv
COPY requirements.txt /tmp/requirements.txt
RUN {mount}uv pip install --system --break-system-packages --compile-bytecode \\
    -r /tmp/requirements.txt
WORKDIR /work
COPY src /work/src
USER 1000:1000
"""
HAND_WHEEL = """
FROM coopery-bench-uv
COPY ballast-1.0-py3-none-any.whl /tmp/
RUN uv pip install --system --break-system-packages --no-index --compile-bytecode \\
    /tmp/ballast-1.0-py3-none-any.whl
WORKDIR /work
COPY src /work/src
USER 1000:1000
"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A project for coopery, and one for the peer, with the same packages and sources."""

    ours: Path
    home: Path
    hand: Path
    docker: str

    def coopery(self, *arguments: str) -> None:
        """Run coopery on its project."""
        command = [sys.executable, "-m", "coopery", *arguments]
        call(command, self.ours, {"COOPERY_HOME": str(self.home)})

    def build(self) -> None:
        """Build the image with coopery."""
        self.coopery("build", "-r", "docker", "-q")

    def images(self) -> set[str]:
        """The ids of the images that coopery built here."""
        from coopery_docker.notes import HOME, home_id

        label = f"label={HOME}={home_id(self.home)}"
        ask = [self.docker, "images", "-q", "--no-trunc", "--filter", label]
        return set(output(ask, self.ours).split())

    def forget(self) -> None:
        """Forget the images that coopery built, and that it built them."""
        subprocess.run([self.docker, "rmi", "-f", *self.images()], capture_output=True)
        for folder in ("places", "objects", "records", "runs"):
            shutil.rmtree(self.home / folder, ignore_errors=True)
        for file in self.home.glob("index.sqlite*"):
            file.unlink()

    def write(self, packages: Sequence[str], source: str, wheels: Sequence[str] = ()) -> None:
        """Say what the image is to hold."""
        quoted, files = (", ".join(f'"{name}"' for name in n) for n in (packages, wheels))
        tasks = "".join(TASK.format(number=number) for number in range(TASKS))
        text = RECIPE.format(packages=quoted, wheels=files, tasks=tasks)
        (self.ours / "recipe.toml").write_text(text)
        for root in (self.ours, self.hand):
            (root / "src").mkdir(exist_ok=True)
            (root / "src" / "code.py").write_text(source)
        lines = "".join(f"{name}\n" for name in packages)
        # A stamp, or the builder's cache would know what a former repetition added.
        stamp = f"# {time.time_ns()}\n" if ADDED in packages else ""
        (self.hand / "requirements.txt").write_text(lines + stamp)

    def by_hand(self, buildkit: bool, *, cold: bool = False, text: str = HAND) -> None:
        """Build the image by hand."""
        mount = "--mount=type=cache,target=/root/.cache/uv " if buildkit else ""
        (self.hand / "Dockerfile").write_text(text.format(mount=mount))
        command = [self.docker, "build", "-q", "-t", PEER, "--network", "host", "."]
        command += ["--no-cache"] if cold else []
        call(command, self.hand, {"DOCKER_BUILDKIT": str(int(buildkit))})


def call(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
    """Run a command; its output is shown when it fails."""
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout.decode()}{done.stderr.decode()}")


def output(command: Sequence[str], cwd: Path) -> str:
    """What a command prints."""
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def client() -> str:
    """A docker client that can ask for BuildKit without a further program."""
    for name in ("/usr/bin/docker", shutil.which("docker")):
        if name and Path(name).exists():
            asked = subprocess.run(
                [name, "build", "-q", "-"],
                input=f"FROM {BASE}\n".encode(),
                env={**os.environ, "DOCKER_BUILDKIT": "1"},
                capture_output=True,
            )
            if asked.returncode == 0:
                return name
    sys.exit(f"no docker client builds on {BASE} with BuildKit")


def make_peers_base(docker: str) -> None:
    """The base with uv in it, and the certificates that this machine trusts."""
    import ssl

    import uv

    with tempfile.TemporaryDirectory() as name:
        shutil.copy(uv.find_uv_bin(), Path(name) / "uv")
        trusted = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        shutil.copy(trusted or "/etc/ssl/certs/ca-certificates.crt", Path(name) / "trusted.pem")
        text = f"FROM {BASE}\nCOPY uv /usr/local/bin/uv\nCOPY trusted.pem /etc/trusted.pem\n"
        text += "ENV SSL_CERT_FILE=/etc/trusted.pem\n"
        (Path(name) / "Dockerfile").write_text(text)
        call([docker, "build", "-q", "-t", UV_BASE, "."], Path(name), {})


def rows(bench: Bench, repeat: int) -> Iterator[tuple[str, list[float]]]:
    """Per case, the seconds of ours, of BuildKit by hand, and of the classic builder by hand."""
    builders: tuple[Callable[[bool], None], ...] = (
        lambda cold: bench.build(),
        lambda cold: bench.by_hand(True, cold=cold),
        lambda cold: bench.by_hand(False, cold=cold),
    )
    for case in ("cold", "no-op", "source", "package"):
        times: list[list[float]] = [[], [], []]
        for _ in range(repeat):
            for number, build in enumerate(builders):
                bench.write(PACKAGES, f"VALUE = {time.time_ns()}\n")
                if number == 0 and case in ("cold", "package"):
                    bench.forget()
                if case != "cold":
                    build(False)
                if case == "source":
                    bench.write(PACKAGES, f"VALUE = {time.time_ns()}\n")
                if case == "package":
                    bench.write((*PACKAGES, ADDED), f"VALUE = {time.time_ns()}\n")
                times[number].append(timed(lambda: build(case == "cold")))  # noqa: B023
        yield case, [statistics.median(each) for each in times]


def write_wheel(folder: Path, megabytes: int) -> Path:
    """A wheel with that much in it, in files of 20 kB that do not compress."""
    import base64
    import hashlib
    import zipfile

    info = "ballast-1.0.dist-info"
    members = {f"ballast/{n}.bin": os.urandom(20_000) for n in range(megabytes * 50)}
    members["ballast/__init__.py"] = b""
    members[f"{info}/METADATA"] = b"Metadata-Version: 2.1\nName: ballast\nVersion: 1.0\n"
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = ""
    for path, content in members.items():
        value = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={value},{len(content)}\n"
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    file = folder / BALLAST
    with zipfile.ZipFile(file, "w") as archive:
        for path, content in members.items():
            archive.writestr(path, content)
    return file


def flatness(bench: Bench, repeat: int) -> Iterator[tuple[int, float, float]]:
    """Per size of the dependencies in MB, the seconds that an edited source takes; ours, BuildKit.

    The peer installs the same wheel, in an instruction before its sources.
    """
    for megabytes in SIZES:
        for root in (bench.ours, bench.hand):
            write_wheel(root, megabytes)
        times: list[list[float]] = [[], []]
        builders = (bench.build, lambda: bench.by_hand(True, text=HAND_WHEEL))
        for number in range(repeat + 1):  # the first is not of an edit, and not counted
            for build, found in zip(builders, times, strict=True):
                bench.write((), f"VALUE = {time.time_ns()}\n", [BALLAST])
                took = timed(build)
                found += [took] if number else []
        yield megabytes, statistics.median(times[0]), statistics.median(times[1])


def start_up(bench: Bench, repeat: int) -> Iterator[tuple[str, float, float]]:
    """Per command with nothing to do: seconds of the processor, and of `python -c pass`."""
    commands = {
        "list": ["-m", "coopery", "list"],
        "run": ["-m", "coopery", "run", "-r", "docker", "-q"],
        "build": ["-m", "coopery", "build", "-r", "docker", "-q"],
    }
    bench.write((), "")
    text = RECIPE.format(
        packages="", wheels="", tasks=TASK.format(number=0).replace("always = true", "")
    )
    (bench.ours / "recipe.toml").write_text(text)
    for arguments in commands.values():
        processor_time(bench, arguments)
    for name, arguments in commands.items():
        ours, floor = [], []
        for _ in range(5 * repeat):
            ours.append(processor_time(bench, arguments))
            floor.append(processor_time(bench, ["-c", "pass"]))
        yield name, statistics.median(ours), statistics.median(floor)


def processor_time(bench: Bench, arguments: Sequence[str]) -> float:
    """Seconds of processor time that Python takes with these arguments."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    call([sys.executable, *arguments], bench.ours, {"COOPERY_HOME": str(bench.home)})
    return spent() - before


def overhead(bench: Bench, repeat: int) -> tuple[float, float, float]:
    """Seconds per task: ours in a run of many, `docker run --rm`, and a run's own part."""
    bench.write(PACKAGES, "")
    bench.build()
    bench.by_hand(True)
    ours, theirs, alone = [], [], []
    for _ in range(repeat):
        many = timed(lambda: bench.coopery("run", "-r", "docker", "-q", "-j", "1"))
        one = timed(lambda: bench.coopery("run", "-r", "docker", "-q", "-j", "1", "t0"))
        ours.append((many - one) / (TASKS - 1))
        alone.append(one)
        theirs.append(
            timed(lambda: call([bench.docker, "run", "--rm", PEER, "true"], bench.hand, {}))
        )
    return statistics.median(ours), statistics.median(theirs), statistics.median(alone)


def sizes(bench: Bench) -> tuple[int, int]:
    """Bytes of our image and of the peer's, without what they begin with."""
    ask = [bench.docker, "image", "inspect", "-f", "{{.Size}}"]
    ours = max(int(output([*ask, name], bench.ours)) for name in bench.images())
    base, uv_base = (int(output([*ask, name], bench.ours)) for name in (BASE, UV_BASE))
    return ours - base, int(output([*ask, PEER], bench.ours)) - uv_base


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    docker = client()
    make_peers_base(docker)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        bench = Bench(ours=root / "ours", home=root / "home", hand=root / "hand", docker=docker)
        bench.ours.mkdir()
        bench.hand.mkdir()
        try:
            heads = ("build", "ours", "BuildKit", "ratio", "classic", "ratio")
            print("{:<10} {:>8} {:>9} {:>6} {:>8} {:>6}".format(*heads))
            bench.write((*PACKAGES, ADDED), "")
            bench.build()
            bench.by_hand(True)
            for case, (ours, kit, classic) in rows(bench, repeat):
                print(
                    f"{case:<10} {ours:7.2f}s {kit:8.2f}s {ours / kit:6.2f}"
                    f" {classic:7.2f}s {ours / classic:6.2f}"
                )
            print()
            for megabytes, ours, kit in flatness(bench, repeat):
                shown = f"an edit upon {megabytes} MB"
                print(f"{shown:<21} {ours:7.2f}s, BuildKit {kit:5.2f}s: {ours / kit:6.2f}")
            print()
            for name, ours, floor in start_up(bench, repeat):
                shown = f"{name}, nothing to do"
                times = f"{ours * 1e3:5.0f} ms, floor {floor * 1e3:5.1f}"
                print(f"{shown:<21} {times}: {ours / floor:.1f}")
            task, by_hand, alone = overhead(bench, repeat)
            print(
                f"\na task     {task:7.3f}s, docker run --rm {by_hand:.3f}s: {task / by_hand:.2f}"
            )
            print(f"a run of one task, all in all: {alone:.3f}s: {alone / by_hand:.2f}")
            ours, theirs = sizes(bench)
            shown = f"{ours / 1e6:.1f} MB, by hand {theirs / 1e6:.1f} MB"
            print(f"size upon the base {shown}: {ours / theirs:.2f}")
        finally:
            bench.forget()
            subprocess.run([docker, "rmi", "-f", PEER, UV_BASE], capture_output=True)


if __name__ == "__main__":
    main()
