"""Tell a program something that nothing it starts shall know: through a pipe, read once.

The program finds it in a file that an argument names. Once it has read that, the pipe is empty: it
is in no variable, no argument and no file, of the program or of what it starts; nor does anything
of it stay behind when coopery or the program is killed.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence

CONFIDED = "coopery:confided"
"""Stands for the name of the file in a command's arguments."""


@contextlib.contextmanager
def confided(command: Sequence[str], text: str) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """The command with the file's name for `CONFIDED`, and the descriptors to pass on to it.

    The program may read the file once. A command without `CONFIDED` stays as it is.
    """
    if CONFIDED not in command:
        yield list(command), ()
        return
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        # A pipe may hold no more than a page before somebody reads it.
        writer = threading.Thread(
            target=_write, args=(writing, text.encode()), name="confiding", daemon=True
        )
        writer.start()
        name = f"/proc/self/fd/{reading}"
        yield [name if word == CONFIDED else word for word in command], (reading,)
    finally:
        os.close(reading)


def _write(descriptor: int, content: bytes) -> None:
    # Who ends before it has read all needs none of it.
    with contextlib.suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as pipe:
        pipe.write(content)
