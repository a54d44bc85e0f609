"""Check and compile what was installed: `python -I install.py all|own [DISTRIBUTION…]`.

This file is copied into images as it is: the standard library only, Python 3.8 or later. `all`
compiles everything to byte code that is never compared with its source, for nothing in an image
changes; a file that does not compile is left alone, as installers do. `own` compares every file of
these distributions with its hash in RECORD (PEP 376), ends with 1 naming each that differs, and
compiles these files alone: what lies under them was compiled before.
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


def files_of(site: Path, record: Path) -> list[tuple[Path, str]]:
    """The files of a RECORD that have a hash in it, with that."""
    with record.open(encoding="utf-8", newline="") as file:
        rows = [(name, recorded) for name, recorded, *_ in csv.reader(file)]
    return [(Path(os.path.normpath(site / name)), recorded) for name, recorded in rows if recorded]


def wrong_in(site: Path, distribution: str) -> list[str]:
    """What is wrong with an installed distribution, a line each."""
    record = record_of(site, distribution)
    if record is None:
        return [f"{distribution}: no RECORD of it is installed"]
    found = []
    for path, recorded in files_of(site, record):
        algorithm, _, wanted = recorded.partition("=")
        try:
            digest = hashlib.new(algorithm, path.read_bytes()).digest()
        except OSError as error:
            found.append(f"{distribution}: {path}: {error.strerror}")
            continue
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != wanted:
            found.append(f"{distribution}: {path} is not the file that its wheel recorded")
    return found


def main(what: str, *distributions: str) -> int:
    """Do it; returns the exit code."""
    site = Path(sysconfig.get_paths()["purelib"])
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if what == "all":
        compileall.compile_dir(site, quiet=2, workers=0, maxlevels=99, invalidation_mode=mode)
        return 0
    wrong = [line for name in distributions for line in wrong_in(site, name)]
    for line in wrong:
        print(line, file=sys.stderr)
    records = [record for name in distributions if (record := record_of(site, name))]
    for path in sorted({path for record in records for path, _ in files_of(site, record)}):
        if path.suffix == ".py":
            compileall.compile_file(path, quiet=2, invalidation_mode=mode)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
