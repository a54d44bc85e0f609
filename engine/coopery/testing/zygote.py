"""The process that `forking` forks calls of the command from; a script, never imported.

It has imported what calls import, and nothing of it has happened yet: no call's environment, folder
or arguments were looked at. A child of it takes all of these from its request and then does what
`python -m coopery` does, in `__main__`, until the interpreter ends.

Only what an interpreter that has just started holds anyway is imported for its own use, so that a
child does not know more modules than it would else, but for those that are preloaded.
"""

from __future__ import annotations

import _socket
import importlib
import marshal
import os
import runpy
import select
import sys
import time
from types import ModuleType, TracebackType
from typing import Any

_FDS = 3
"""Descriptors that come with a request: where it is read and answered, its stdout, its stderr."""

OTHERS = (
    *("concurrent.futures.thread", "configparser", "csv", "ctypes", "difflib", "email.parser"),
    *("fcntl", "http.client", "importlib.metadata", "importlib.resources", "logging", "random"),
    *("resource", "sqlite3", "ssl", "subprocess", "tarfile", "tempfile", "tomllib", "zipfile"),
    *("docker", "packaging.requirements", "pluggy", "requests"),
)
"""What many calls import and coopery's own modules import late."""

SCRIPTS = frozenset({"__main__", "keeper", "testing"})
"""Modules and packages of coopery that no call imports."""


def main() -> None:
    """Serve until the socket that argv names is closed; in a child, be the call."""
    control = int(sys.argv[1])
    del sys.path[0]  # the folder of this script
    preload()
    request = _serve(control)
    if request is not None:
        _become(request)


def preload() -> None:
    """Import coopery, its plugins and what these need."""
    from coopery import discovery

    plugins = [value.partition(":")[0] for _, value in discovery.entry_points("coopery")]
    for name in ("coopery", *sorted(p for p in plugins if p.startswith("coopery_"))):
        package = importlib.import_module(name)
        for module in _modules(package):
            importlib.import_module(module)
    for name in OTHERS:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name.partition(".")[0]:
                raise


def _modules(package: ModuleType) -> list[str]:
    """The modules right beneath a package; it is none that has no folder."""
    found = []
    for folder in getattr(package, "__path__", ()):
        stems = [entry[:-3] for entry in os.listdir(folder) if entry.endswith(".py")]  # noqa: PTH208
        found += [f"{package.__name__}.{stem}" for stem in stems if stem not in SCRIPTS]
    return sorted(name for name in found if not name.endswith(".__init__"))


def _serve(number: int) -> dict[str, Any] | None:
    """Fork for each request; in the child the request, None when nobody can ask any more."""
    import gc

    control = _socket.socket(fileno=number)
    hello = {"modules": sorted({name.partition(".")[0] for name in sys.modules})}
    control.send(marshal.dumps(hello))
    gc.collect()
    gc.freeze()
    poll = select.poll()
    poll.register(number, select.POLLIN)
    answering: dict[int, int] = {}
    """By the descriptor of a child's process, where its end is told."""
    waiting: dict[int, int] = {}
    """The same the other way round."""
    children: dict[int, int] = {}
    while True:
        for ready, _ in poll.poll():
            if ready in answering:  # a child has ended
                _, status = os.waitpid(children.pop(ready), 0)
                answer = answering.pop(ready)
                del waiting[answer]
                _tell_end(answer, os.waitstatus_to_exitcode(status))
            elif ready in waiting:  # whoever called has given up
                poll.unregister(ready)
                _kill(waiting[ready])
                continue
            elif ready == number:
                descriptors = _received(control)
                if not descriptors:
                    return None
                answer, *streams = descriptors
                pid = os.fork()
                if pid == 0:
                    control.detach()
                    return _request(answer, streams)
                for stream in streams:
                    os.close(stream)
                process = os.pidfd_open(pid)
                children[process], answering[process], waiting[answer] = pid, answer, process
                poll.register(process, select.POLLIN)
                poll.register(answer, 0)  # POLLHUP is always told
                continue
            else:  # it was closed a moment ago
                continue
            for each in (ready, answer):
                _forget(poll, each)
                os.close(each)


def _tell_end(answer: int, code: int) -> None:
    try:
        os.write(answer, marshal.dumps(code))
    except BrokenPipeError:
        return  # whoever called has given up


def _forget(poll: Any, descriptor: int) -> None:
    try:
        poll.unregister(descriptor)
    except KeyError:
        return  # whoever called had given up


def _kill(process: int) -> None:
    import signal

    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has just ended


def _received(control: _socket.socket) -> list[int]:
    room = _socket.CMSG_SPACE(_FDS * 4)
    message, parts, _, _ = control.recvmsg(1, room)
    if not message:
        return []
    ((_, _, content),) = parts
    return list(memoryview(content).cast("i"))


def _request(answer: int, streams: list[int]) -> dict[str, Any]:
    """In the child: read the request, and hold nothing but the three standard streams."""
    with os.fdopen(os.dup(answer), "rb") as file:
        size = int.from_bytes(file.read(8), "big")
        found: dict[str, Any] = marshal.loads(file.read(size))
    for target, stream in enumerate(streams, start=1):
        os.dup2(stream, target)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)  # noqa: PTH208
    return found


def _become(request: dict[str, Any]) -> None:
    """Be the call, as if Python had just been started for it."""
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    known = set()
    path = [] if sys.flags.safe_path else [os.getcwd()]  # noqa: PTH109
    for entry in (*request["path"], *sys.path):
        if entry not in known:
            known.add(entry)
            path.append(entry)
    sys.path[:] = path
    sys.argv[:] = ["-m", *request["arguments"]]
    sys.orig_argv[:] = [sys.executable, "-m", "coopery", *request["arguments"]]
    sys.excepthook = _tell
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__annotations__ = {}
    try:
        runpy._run_module_as_main("coopery")  # type: ignore[attr-defined]
    except SystemExit as ended:
        if type(ended.code) is int:
            ended.__traceback__ = None  # what the call still held goes now
            _end(ended.code)
        raise


def _end(code: int) -> None:
    """End as Python does, short of taking each imported module apart: most of a call's time.

    Where something is to be told of that, it returns, and Python does.
    """
    import atexit
    import gc

    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()
    atexit._run_exitfuncs()
    gc.collect()  # only of what the call has made: the rest is frozen
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError, AttributeError):
        return  # Python tries again, and says so
    os._exit(code & 0xFF)


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """As Python tells of an exception, without the frames of this script."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


if __name__ == "__main__":
    main()
