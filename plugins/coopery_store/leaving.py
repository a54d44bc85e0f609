"""How bytes leave the home: put aside first, and for good only when nobody turns out to use them.

Who uses bytes writes its lease first and looks for them then. Who takes them away puts them aside
(`NAME.going`), looks for leases, and puts them back if there is one, else they become
`NAME.TOKEN.gone`, which nobody looks for. All under one lock for each name; a process killed in
between leaves a file that whoever holds the lock next understands.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from coopery_store.copying import remove

_GOING, GONE = ".going", ".gone"


def is_debris(name: str) -> bool:
    """Whether a file of this name was left by a process that was taking something away."""
    return name.endswith((_GOING, GONE))


def withdraw(
    path: Path,
    needed: Callable[[], bool] = lambda: False,
    let_go: Callable[[], bool] = lambda: True,
) -> Path | None:
    """Take a file or folder from its place, under its lock; what is returned is to be removed.

    None if it is needed. A path to remove may not exist. `let_go` takes away what it is a note of,
    when nobody can come for it any more; it says whether that went.
    """
    restore(path)
    if needed():
        return None
    going = path.with_name(path.name + _GOING)
    gone = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}{GONE}")
    with suppress(FileNotFoundError):
        path.rename(going)
        try:
            goes = not needed() and let_go()  # needed by somebody who came just now
        except BaseException:
            going.rename(path)
            raise
        if not goes:
            going.rename(path)
            return None
        going.rename(gone)
    return gone


def restore(path: Path) -> None:
    """Under its lock: put back what a process was about to take away when it was killed."""
    going = path.with_name(path.name + _GOING)
    if not os.path.lexists(going):
        return
    if os.path.lexists(path):
        remove(going)  # made anew since
    else:
        going.rename(path)


def original(debris: Path) -> Path | None:
    """The place of what is aside; None for what is gone for good."""
    if debris.name.endswith(_GOING):
        return debris.with_name(debris.name.removesuffix(_GOING))
    return None
