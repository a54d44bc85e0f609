"""One request to build: the context streamed, what the builder tells read to its end."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from coopery.contexts import Entry, write_tar
from coopery.staging import was_cancelled
from coopery_docker.buildkit import SAID, Trace
from coopery_docker.client import Engine

DOCKERFILE = "coopery.Dockerfile"
"""The name of the Dockerfile in a context; it is none that a project's file would have."""
_PULSE = 0.1
"""Seconds between two looks at whether the run was cancelled."""
_STEP = re.compile(r"(?:Step (\d+)/\d+ : |STEP (\d+)/\d+: )")
"""How Docker's classic builder and Podman's begin a step."""
_RUNNING = re.compile(r" ---> Running in ([0-9a-f]{12,64})")
_OWN = re.compile(r" ---> |--> |Removing intermediate container |Successfully (?:built|tagged) ")
"""How lines begin that the classic builder, and Podman's, say themselves."""


@dataclass
class Building:
    """What became of a build: `error` as the builder said it, by number what each step took."""

    error: str | None = None
    seconds: dict[int, float] = field(default_factory=dict)
    cached: set[int] = field(default_factory=set)
    context: int = 0
    """Bytes that were sent."""
    said: str = ""
    """The end of what the last program printed; of one that failed, if any did."""


class NoBuildKit(Exception):
    """The engine builds, but not with BuildKit."""


def build(
    engine: Engine,
    entries: Iterator[Entry],
    tag: str,
    labels: Mapping[str, str],
    write: Callable[[bytes], object],
    cancelled: threading.Event,
    *,
    buildkit: bool,
    anew: bool = False,
    platform: str = "",
    begun: Callable[[str], object] = lambda ident: None,
) -> Building:
    """Build and tag an image. Steps are counted from 1: with BuildKit, those that do something.

    `platform` is said where the base is for another one than the engine. `begun` is told the ids
    of containers that the classic builder makes.

    `anew` asks nothing of the builder's cache.

    Raises StepError (`cancelled`), MachineError, NoBuildKit; whatever reading the context raises.
    """
    request = _Request(engine, write, begun, buildkit=buildkit)
    parameters = {
        "t": tag,
        "dockerfile": DOCKERFILE,
        "labels": json.dumps(dict(labels)),
        "rm": "1",
        "forcerm": "1",
        **({"version": "2"} if buildkit else {}),
        **({"nocache": "1"} if anew else {}),
        **({"platform": platform} if platform else {}),
    }
    worker = threading.Thread(target=request.run, args=(entries, parameters, cancelled))
    worker.daemon = True
    worker.start()
    while not request.done.wait(_PULSE):
        if cancelled.is_set():
            request.stop()
    if cancelled.is_set():
        raise was_cancelled()
    if request.raised is not None:
        with engine.asked("did not build"):
            raise request.raised
    return request.found


class _Request:
    """The request itself, in a thread of its own, so that it can be cut off."""

    def __init__(
        self,
        engine: Engine,
        write: Callable[[bytes], object],
        begun: Callable[[str], object],
        *,
        buildkit: bool,
    ) -> None:
        self.done = threading.Event()
        self.raised: Exception | None = None
        self.found = Building()
        self._engine = engine
        self._write, self._begun = write, begun
        self._buildkit = buildkit
        self._response: Any = None

    def run(
        self, entries: Iterator[Entry], parameters: Mapping[str, str], cancelled: threading.Event
    ) -> None:
        try:
            self._run(entries, parameters, cancelled)
        except Exception as error:
            self.raised = error
        finally:
            self.done.set()

    def stop(self) -> None:
        """Cut the connection: the engine ends a build that nobody listens to."""
        if self._response is None:
            return
        raw = self._engine.api._get_raw_response_socket(self._response)
        with suppress(OSError):  # it is cut already
            getattr(raw, "_sock", raw).shutdown(socket.SHUT_RDWR)

    def _run(
        self, entries: Iterator[Entry], parameters: Mapping[str, str], cancelled: threading.Event
    ) -> None:
        from docker.errors import APIError

        api = self._engine.api
        self._response = api._post(
            api._url("/build"),
            data=_stream(entries, self.found, cancelled),
            params=parameters,
            headers={"Content-Type": "application/x-tar"},
            stream=True,
            timeout=None,
        )
        try:
            api._raise_for_status(self._response)
        except APIError as error:
            if self._buildkit and "buildkit" in str(error.explanation).lower():
                raise NoBuildKit from error
            raise
        reader = _Tracing(self.found) if self._buildkit else _Plain(self.found, self._begun)
        for line in self._response.iter_lines(chunk_size=1 << 16):
            if not line:
                continue
            message = json.loads(line)
            if "error" in message:
                # Not the end: what is still to come is read too.
                self.found.error = str(message["error"]).strip()
            for part in reader.read(message):
                self._write(part)
        reader.end()


class _Plain:
    """The classic builder's messages."""

    def __init__(self, found: Building, begun: Callable[[str], object]) -> None:
        self._found, self._begun = found, begun
        self._step, self._since = 0, time.monotonic()

    def read(self, message: Mapping[str, Any]) -> Iterator[bytes]:
        text = str(message.get("stream") or "")
        if begun := _STEP.match(text):
            self.end()
            self._step, self._since = int(begun[1] or begun[2]), time.monotonic()
            self._found.said = ""
        # What a program said on stderr comes in a terminal's red.
        text = text.removeprefix("\x1b[91m").removesuffix("\x1b[0m")
        if running := _RUNNING.match(text):
            self._begun(running[1])
        if "Using cache" in text:
            self._found.cached.add(self._step)
        if text and not begun and not _OWN.match(text):
            self._found.said = (self._found.said + text)[-SAID:]
        if text:
            yield text.encode()

    def end(self) -> None:
        self._found.seconds[self._step] = time.monotonic() - self._since


class _Tracing:
    """BuildKit's messages."""

    def __init__(self, found: Building) -> None:
        self._found = found
        self._trace = Trace()

    def read(self, message: Mapping[str, Any]) -> Iterator[bytes]:
        if message.get("id") == "moby.buildkit.trace":
            yield from self._trace.read(base64.b64decode(message["aux"]))
        elif text := message.get("stream"):
            yield str(text).encode()

    def end(self) -> None:
        for vertex in sorted(self._trace.vertices.values(), key=lambda v: bool(v.error)):
            self._found.said = vertex.printed or self._found.said
            if vertex.instruction is not None:
                self._found.seconds[vertex.instruction] = vertex.seconds
                if vertex.cached:
                    self._found.cached.add(vertex.instruction)


class _Sink:
    """The writing end of a pipe, which counts: `tarfile` wants to know where it is."""

    def __init__(self, descriptor: int, found: Building) -> None:
        self._descriptor, self._found = descriptor, found

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self._found.context += len(data)
        return len(data)

    def tell(self) -> int:
        return self._found.context


def _stream(
    entries: Iterator[Entry], found: Building, cancelled: threading.Event
) -> Iterator[bytes]:
    """The context as a tar, made while it is sent."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    failed: list[Exception] = []

    def produce() -> None:
        sink: Any = _Sink(writing, found)
        try:
            write_tar(entries, sink)
        except BrokenPipeError:
            return  # whoever reads has given up, and says why
        except Exception as error:
            failed.append(error)
        finally:
            os.close(writing)

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    try:
        while part := os.read(reading, 1 << 16):
            if cancelled.is_set():
                raise was_cancelled()
            yield part
    finally:
        os.close(reading)
        producer.join()
    if failed:
        raise failed[0]


def layers(
    engine: Engine, tag: str, before: str, lines: Sequence[tuple[str, str]], found: Building
) -> list[dict[str, Any]]:
    """The table of a built part: per instruction its size in bytes, seconds, and whether cached.

    `lines` are the keyword and the whole of each; `before` is the image that they begin with.
    """
    with engine.asked("told nothing of the image"):
        history = engine.api.history(tag)
        known = len(engine.api.history(before))
    sizes = [int(item.get("Size") or 0) for item in reversed(history)][known:]
    table: list[dict[str, Any]] = []
    done = 1  # FROM is the first
    cached = False
    for number, (keyword, line) in enumerate(lines):
        # With BuildKit only what does something is a step, and takes along what is only written
        # down; the classic builder counts all.
        acts = not engine.has_buildkit or keyword in ("RUN", "COPY", "ADD", "WORKDIR")
        done += acts
        if acts:
            cached = done in found.cached
        table.append(
            {
                "instruction": line,
                "size": sizes[number] if number < len(sizes) else 0,
                "seconds": round(found.seconds.get(done, 0.0), 3) if acts else 0.0,
                "cached": cached,
            }
        )
    return table
