"""Check and compile what was installed: `python -I install.py compile`, or `check DISTRIBUTION…`.

This file is copied into images as it is: the standard library only, Python 3.8 or later. `check`
compares every file of these distributions with its hash in RECORD (PEP 376), and ends with 1 naming
each that differs; else it compiles them. `compile` does so with all there is. Byte code is never
compared with its source, for nothing in an image changes; a file that does not compile is left
alone, as installers do.
"""

from __future__ import annotations

import base64
import compileall
import csv
import hashlib
import os
import py_compile
import re
import sys
import sysconfig
from pathlib import Path

_MODE = py_compile.PycInvalidationMode.UNCHECKED_HASH


def canonical(name: str) -> str:
    """A distribution's name in its canonical form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def record_of(site: Path, distribution: str) -> Path | None:
    """Its RECORD, if it has one."""
    for info in sorted(site.glob("*.dist-info")):
        name = canonical(info.name.partition("-")[0])
        if name == canonical(distribution) and (info / "RECORD").exists():
            return info / "RECORD"
    return None


def wrong_in(site: Path, distribution: str) -> list[str]:
    """What is wrong with an installed distribution, a line each."""
    record = record_of(site, distribution)
    if record is None:
        return [f"{distribution}: no RECORD of it is installed"]
    found = []
    with record.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    for name, recorded, *_ in rows:
        if not recorded:
            continue
        algorithm, _, wanted = recorded.partition("=")
        path = Path(os.path.normpath(site / name))
        try:
            digest = hashlib.new(algorithm, path.read_bytes()).digest()
        except OSError as error:
            found.append(f"{distribution}: {path}: {error.strerror}")
            continue
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != wanted:
            found.append(f"{distribution}: {path} is not the file that its wheel recorded")
    return found


def compile_own(site: Path, distribution: str) -> None:
    """Write byte code of one distribution's modules, and of no other's."""
    record = record_of(site, distribution)
    if record is None:
        return
    with record.open(encoding="utf-8", newline="") as file:
        names = [row[0] for row in csv.reader(file) if row and row[0].endswith(".py")]
    for name in names:
        compileall.compile_file(site / name, quiet=2, invalidation_mode=_MODE)


def main(what: str, *distributions: str) -> int:
    """Do it; returns the exit code."""
    site = Path(sysconfig.get_paths()["purelib"])
    if what == "compile":
        compileall.compile_dir(site, quiet=2, workers=0, maxlevels=99, invalidation_mode=_MODE)
        return 0
    wrong = [line for name in distributions for line in wrong_in(site, name)]
    for line in wrong:
        print(line, file=sys.stderr)
    if not wrong:
        for name in distributions:
            compile_own(site, name)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
