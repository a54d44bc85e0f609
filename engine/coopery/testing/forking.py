"""Calls of the command that share what starting an interpreter and importing coopery cost.

A test suite calls the command thousands of times, and nearly all of a short call's time goes into
starting Python and importing the same modules again. A zygote has done both: it forks for each
call (see `zygote`), and what is forked does all that `python -m coopery` does. Each call still is
a process of its own, with its own environment, folder, umask and streams, and ends as Python ends.

What the interpreter itself reads when it starts cannot be given to it afterwards. Calls in which
that differs from what the zygote was started with are refused here, and `Project.coopery` starts a
process for them (see `Zygotes.call`).
"""

from __future__ import annotations

import atexit
import marshal
import os
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path

START = (
    *("PYTHON", "LD_", "LC_", "LANG", "LOCPATH", "MALLOC_", "GLIBC_", "OPENSSL_", "COV"),
    *("_PYTHON", "__PYVENV"),
)
"""What variables begin with that are read when an interpreter starts, and when it imports."""

_SCRIPT = Path(__file__).with_name("zygote.py")
_STATUS = ("Uid", "Gid", "Groups", "SigIgn", "Cap", "NoNewPrivs", "Seccomp", "Cpus_allowed:")
_CUSTOM = frozenset({"sitecustomize", "usercustomize"})

Call = tuple[int, bytes, bytes]
"""A call's exit code, as `subprocess` tells it, its stdout and its stderr."""


class Zygotes:
    """The zygotes of this process, which end with it; threads may call at once.

    There are two, and they take turns: each has hashes of its own, so that of two calls in a row
    the second meets sets and addresses in another order than the first, as with real processes.
    """

    def __init__(self) -> None:
        self._start = {**os.environ}
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._zygotes: Iterator[_Zygote] | None = None
        self._like = ("", "")

    def call(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        together: bool = False,
    ) -> Call | None:
        """Call `coopery`; None where only a real process is the same thing.

        That is where one of the variables in `START` differs, but for PYTHONPATH; where this
        process has another user, other capabilities, limits or ignored signals than it had; and
        where a module beside the recipe, in the current folder or on PYTHONPATH hides one that
        the zygote has imported already. With `together`, stderr goes where stdout goes.
        """
        with self._lock:
            if os.getpid() != self._owner or not hasattr(os, "pidfd_open"):
                return None
            if self._zygotes is None:
                self._like = _kind_of_process()
                two = [_Zygote(self._start), _Zygote(self._start)]
                self._zygotes = cycle(two)
                atexit.register(self._end, two)
            if self._like != _kind_of_process():
                return None
            zygote = next(self._zygotes)
        if _at_start(env) != _at_start(self._start) or not zygote.may_do(arguments, cwd, env):
            return None
        return zygote.call(arguments, cwd, env, together)

    def _end(self, zygotes: Sequence[_Zygote]) -> None:
        if os.getpid() == self._owner:
            for zygote in zygotes:
                zygote.end()


class _Zygote:
    def __init__(self, env: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        # Its streams are of the kinds that a call's are: Python looks at that when it starts.
        self._process = subprocess.Popen(
            [sys.executable, str(_SCRIPT), str(theirs.fileno())],
            env={name: value for name, value in env.items() if name != "PYTHONPATH"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        self._executable = sys.executable
        self._modules: frozenset[str] | None = None

    def may_do(self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> bool:
        """Whether nothing on the call's path would be imported instead of what is already."""
        if sys.executable != self._executable or any("\0" in word for word in arguments):
            return False
        places = [Path(entry) for entry in _path(env)]
        if not all(place.is_absolute() for place in places) or not cwd.is_dir():
            return False
        found = {cwd, *cwd.absolute().parents, *places, *_named(arguments, cwd)}
        names = self._known() | _CUSTOM
        return not any(_holds(folder, names) for folder in found)

    def call(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], together: bool
    ) -> Call:
        """Fork, and wait for the end. Raises ChildProcessError when the zygote is gone."""
        request = marshal.dumps(
            {
                "arguments": list(arguments),
                "cwd": str(cwd),
                "env": dict(env),
                "path": _path(env),
                "umask": _umask(),
            }
        )
        ours, theirs = socket.socketpair()
        out, to_out = os.pipe()
        err, to_err = os.pipe()
        # Closing the socket is to give up: the zygote kills the call.
        with ours, open(out, "rb", buffering=0) as stdout, open(err, "rb", buffering=0) as stderr:  # noqa: PTH123
            try:
                streams = [theirs.fileno(), to_out, to_out if together else to_err]
                with theirs, self._lock:
                    self._known_or_read()
                    socket.send_fds(self._control, [b"."], streams)
            finally:
                os.close(to_out)
                os.close(to_err)
            ours.sendall(len(request).to_bytes(8, "big") + request)
            contents = _read({stdout.fileno(): bytearray(), stderr.fileno(): bytearray()})
            answer = ours.recv(64)
        if not answer:
            raise ChildProcessError(f"the zygote ended: {self._last_words()}")
        return marshal.loads(answer), *contents

    def end(self) -> None:
        """Have it end, and wait for that; calls that still run go on."""
        self._control.close()
        self._process.communicate()

    def _known(self) -> frozenset[str]:
        with self._lock:
            return self._known_or_read()

    def _known_or_read(self) -> frozenset[str]:
        if self._modules is None:
            hello = self._control.recv(1 << 16)
            if not hello:
                raise ChildProcessError(f"the zygote ended: {self._last_words()}")
            self._modules = frozenset(marshal.loads(hello)["modules"])
        return self._modules

    def _last_words(self) -> str:
        self._process.kill()
        return self._process.communicate()[1].decode("utf-8", "replace")


def _read(contents: dict[int, bytearray]) -> tuple[bytes, ...]:
    """What comes out of pipes until the last who may write into them has ended."""
    with selectors.DefaultSelector() as selector:
        for descriptor in contents:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                if chunk := os.read(key.fd, 1 << 15):
                    contents[key.fd] += chunk
                else:
                    selector.unregister(key.fd)
    return tuple(map(bytes, contents.values()))


def _at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in env.items() if k.startswith(START) and k != "PYTHONPATH"}


def _path(env: Mapping[str, str]) -> list[str]:
    given = env.get("PYTHONPATH", "")
    return given.split(os.pathsep) if given else []


def _named(arguments: Sequence[str], cwd: Path) -> Iterator[Path]:
    """The folders of the files that arguments name: a recipe's is importable."""
    for word in arguments:
        for text in (word, word.rpartition("=")[2], word.removeprefix("-f")):
            try:
                there = text and (cwd / text).exists()
            except OSError:  # too long for a name
                there = False
            if there:
                yield (cwd / text).parent


def _holds(folder: Path, names: frozenset[str]) -> bool:
    """Whether one of these modules lies in a folder; in one that cannot be read, none does."""
    try:
        entries = os.listdir(folder)  # noqa: PTH208 - there may be thousands
    except OSError:
        return False
    for entry in entries:
        stem, _, ending = entry.partition(".")
        if stem in names and (
            ending.endswith(("py", "pyc", "so"))
            or (not ending and (folder / entry / "__init__.py").exists())
        ):
            return True
    return False


def _umask() -> int:
    return int(_status()["Umask"], 8)


def _kind_of_process() -> tuple[str, str]:
    """What a process hands on to those that it starts, beyond what is given for each call."""
    held = {key: value for key, value in _status().items() if f"{key}:".startswith(_STATUS)}
    return str(held), Path("/proc/self/limits").read_text("ascii")


def _status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text("utf-8", "replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
