"""What the image of the tests runs: it prints as JSON what it is given and sees, then does what its
arguments say, each `VERB` or `VERB:ARGUMENT:…`.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path


def _first(*paths: str) -> str | None:
    """The text of the first of these files that is there."""
    for path in paths:
        if Path(path).exists():
            return Path(path).read_text().strip()
    return None


def _mounts() -> dict[str, str]:
    """Of what is mounted beneath /data, whether it is `ro` or `rw`."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    rows = [line.split() for line in lines]
    return {row[4]: row[5].partition(",")[0] for row in rows if row[4].startswith("/data")}


def _report() -> dict[str, object]:
    shm = os.statvfs("/dev/shm")
    return {
        "argv": sys.argv[1:],
        "cwd": str(Path.cwd()),
        "env": dict(os.environ),
        "mounts": _mounts(),
        "files": {
            str(path): path.read_text("utf-8", "replace")[:200]
            for path in sorted(Path("/data").rglob("*"))
            if path.is_file()
        }
        if Path("/data").is_dir()
        else {},
        "memory": _first(
            "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"
        ),
        "cpu": _first("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        "shm": shm.f_frsize * shm.f_blocks,
        "specified": Path("/processing-container.json").exists(),
    }


def _do(verb: str, *given: str) -> None:
    match verb:
        case "write":
            path, text = given
            Path(path).write_text(text)
        case "try":
            try:
                Path(given[0]).write_text("x")
            except OSError as error:
                print(f"refused {given[0]}: {error.strerror}")
            else:
                print(f"written {given[0]}")
        case "copy":
            # Without their permissions: what is kept in a store cannot be written to.
            source, target = map(Path, given)
            for file in (path for path in source.rglob("*") if path.is_file()):
                copied = target / file.relative_to(source)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copied)
        case "env":
            # Into a file, a variable a line.
            path, *names = given
            Path(path).write_text("".join(f"{name}={os.environ.get(name)}\n" for name in names))
        case "eat":
            held = b"x" * (int(given[0]) << 20)
            print(f"{len(held)} bytes held")
        case "wait":
            while not Path(given[0]).exists():
                time.sleep(0.05)
        case "exit":
            sys.exit(int(given[0]))
        case "by-itself":
            pass
        case _:
            raise ValueError(verb)


if __name__ == "__main__":
    print(json.dumps(_report()), flush=True)
    for item in sys.argv[1:]:
        _do(*item.split(":"))
