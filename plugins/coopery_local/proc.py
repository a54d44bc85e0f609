"""What the kernel tells of processes: who is below whom, and the memory that they hold.

The supervisor reads it, so: standard library only, and as little of that as will do.
"""

from __future__ import annotations

import ctypes
import os
import time

SHORTEST, LONGEST = 0.02, 0.25
"""Seconds between two looks at a task's memory, at least and at most."""

_FASTEST = 4e9
"""Bytes a second: a rate at which few tasks grow, from which the next look's time is reckoned."""

_UNSEEN = (FileNotFoundError, ProcessLookupError, PermissionError)
"""What looking at a process raises when it has ended, or is hidden because it is another user's."""

_KCMP = {"x86_64": 312, "aarch64": 272, "riscv64": 272}
"""The number of the system call kcmp (2), by machine."""
_KCMP_VM = 1


class Watch:
    """Looks from time to time at how much memory the processes below this one hold together.

    `limit` is in bytes; `due` is when to look next, by the monotonic clock.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.seen = 0
        self._plan(0, 0.0)

    def _plan(self, held: int, cost: float) -> None:
        """Look soon where little is missing; and so that looking takes a tenth of the time."""
        pause = min(max((self.limit - held) / _FASTEST, SHORTEST), LONGEST)
        self.due = time.monotonic() + max(pause, 10 * cost)

    def is_over(self) -> bool:
        """Whether the limit is exceeded; `seen` are then the bytes that are held.

        Pages that several processes share are first counted in each: one quick look at each
        process, and mostly that will do. Else they are counted once, which takes the kernel a
        walk over all pages; and twice, since processes may come and go while one counts.
        """
        started = time.monotonic()
        held = sum(_held(pid) for pid in family(os.getpid()))
        if held > self.limit:
            held = self.seen = min(_sum_of_shares(), _sum_of_shares())
        self._plan(held, time.monotonic() - started)
        return held > self.limit


def _sum_of_shares() -> int:
    # Between vfork and exec a child is in its parent's memory, which must not be counted twice.
    # It is asked for first: whoever has a memory of its own keeps it.
    pairs = family(os.getpid()).items()
    return sum(_share(pid) for pid, parent in pairs if not _is_same_memory(pid, parent))


def _is_same_memory(one: int, other: int) -> bool:
    """Whether two processes are in one and the same memory, not just in copies of it."""
    if number := _KCMP.get(os.uname().machine):
        answer = ctypes.CDLL(None).syscall(number, one, other, _KCMP_VM, 0, 0)
        if answer >= 0:
            return bool(answer == 0)
    # Not to be told, as in many containers: then those are taken for one that are of one size to
    # the page. To overlook a fork is better than to kill who did nothing.
    try:
        sizes = [contents(f"/proc/{pid}/statm").split()[:2] for pid in (one, other)]
    except _UNSEEN:
        return False
    return sizes[0] == sizes[1]


def _held(pid: int) -> int:
    """Bytes in memory that a process cannot get back from a file, shared ones counted in full."""
    try:
        return _total(contents(f"/proc/{pid}/status"), (b"RssAnon", b"RssShmem"), b"VmRSS")
    except _UNSEEN:
        return 0


def _share(pid: int) -> int:
    """As `_held`, with each shared page divided by the number of those that share it."""
    try:
        rollup = contents(f"/proc/{pid}/smaps_rollup")
    except _UNSEEN:  # or the kernel is one of before 4.14
        return _held(pid)
    return _total(rollup, (b"Pss_Anon", b"Pss_Shmem"), b"Pss")


def _total(text: bytes, names: tuple[bytes, ...], otherwise: bytes) -> int:
    """Bytes in the lines `Name:  123 kB` of these names; older kernels tell only `otherwise`."""
    lines = dict(line.split(b":", 1) for line in text.splitlines() if line.endswith(b" kB"))
    found = [name for name in names if name in lines] or [otherwise]
    return sum(int(lines[name].split()[0]) << 10 for name in found if name in lines)


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory: in our cgroup, or at all."""
    global _counter
    _counter = _counter or oom_counter()
    for line in contents(_counter).splitlines():
        if line.startswith(b"oom_kill "):
            return int(line.split()[1])
    return 0  # a kernel that does not count


_counter = ""


def oom_counter() -> str:
    """The file that counts them: the nearest one to this process."""
    top = "/sys/fs/cgroup"
    for line in contents("/proc/self/cgroup").splitlines():
        _, controllers, path = os.fsdecode(line).split(":", 2)
        if controllers == "":
            nearest = f"{top}{path}/memory.events"
        elif controllers == "memory":
            nearest = f"{top}/memory{path}/memory.oom_control"
        else:
            continue
        if os.access(nearest, os.R_OK):
            return nearest
    return "/proc/vmstat"


def children_of(pid: int) -> list[int]:
    """The children of a process with one thread."""
    try:
        return [int(child) for child in contents(f"/proc/{pid}/task/{pid}/children").split()]
    except FileNotFoundError:  # a kernel without that file
        return [child for child, parent in _parents().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    """All processes below one, as far as they can be seen just now."""
    found = [pid]
    parents = _parents()
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def family(pid: int) -> dict[int, int]:
    """As `descendants`, each with its parent; only they are looked at, so some may be missed."""
    if not os.access("/proc/thread-self/children", os.R_OK):
        parents = _parents()
        return {child: parents[child] for child in descendants(pid) if child in parents}
    found: dict[int, int] = {}
    asked = [pid]
    for parent in asked:
        for child in _children_of_threads(parent):
            if child not in found:
                found[child] = parent
                asked.append(child)
    return found


def _children_of_threads(pid: int) -> list[int]:
    children = []
    try:
        with os.scandir(f"/proc/{pid}/task") as threads:
            for thread in threads:
                children += contents(f"{thread.path}/children").split()
    except _UNSEEN:
        pass  # or one of its threads has ended: the next look sees more
    return [int(child) for child in children]


def _parents() -> dict[int, int]:
    parents = {}
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                try:
                    # The name before it stands in brackets and may hold anything, brackets too.
                    rest = contents(f"{entry.path}/stat").rpartition(b")")[2]
                except _UNSEEN:
                    continue
                parents[int(entry.name)] = int(rest.split()[1])
    return parents


def contents(path: str) -> bytes:
    """All of a file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while part := os.read(descriptor, 1 << 16):
            data += part
        return data
    finally:
        os.close(descriptor)
