"""From what an installer leaves to the layout in an image, with every RECORD kept true (PEP 376).

What depends on where or when it was installed goes: the interpreter's path in scripts, where a
local wheel came from, and the order of lines.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import posixpath
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from coopery_images.work import ENVIRONMENT

_INTERPRETER = f"{ENVIRONMENT}/bin/python".encode()
_SITE = "site-packages"


def lay_out(env: Path, python: str, executable: str, venv: Path) -> None:
    """Make of the prefix `env`, as an installer left it for the Python of `venv`, what is copied
    to an image whose Python X.Y lies at `executable`.
    """
    env.mkdir(exist_ok=True)
    site = env / "lib" / f"python{python}" / _SITE
    _move_site(env, site)
    _move_headers(env, python)
    for record in sorted(site.glob("*.dist-info/RECORD")):
        _settle(env, site, record, python, venv)
    bin_ = env / "bin"
    bin_.mkdir(exist_ok=True)
    for name in ("python", "python3", f"python{python}"):
        (bin_ / name).unlink(missing_ok=True)
    (bin_ / "python").symlink_to(executable)
    (bin_ / "python3").symlink_to("python")
    (bin_ / f"python{python}").symlink_to("python")
    home = posixpath.dirname(executable)
    text = f"home = {home}\ninclude-system-site-packages = false\nversion = {python}\n"
    (env / "pyvenv.cfg").write_text(text, "utf-8")


def _move_site(env: Path, site: Path) -> None:
    """Packages lie where the installer's Python has them; bring them to where the image's does."""
    found = [
        folder
        for pattern in ("lib*/python*/*-packages", "local/lib*/python*/*-packages")
        for folder in sorted(env.glob(pattern))
        if folder != site and not folder.is_symlink()
    ]
    site.parent.mkdir(parents=True, exist_ok=True)
    for folder in found:
        if site.exists():
            shutil.copytree(folder, site, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(folder)
        else:
            folder.rename(site)
        for parent in folder.relative_to(env).parents:
            if parent != Path() and not any((env / parent).iterdir()):
                (env / parent).rmdir()
    site.mkdir(exist_ok=True)
    for name in (".lock", "lib64"):
        if (env / name).is_symlink() or (env / name).is_file():
            (env / name).unlink()


def _move_headers(env: Path, python: str) -> None:
    for folder in sorted(env.glob("include/site/python*")):
        if folder.name != f"python{python}":
            folder.rename(folder.with_name(f"python{python}"))


def _settle(env: Path, site: Path, record: Path, python: str, venv: Path) -> None:
    """Mend the files of one distribution that tell of the installer's machine, and its RECORD."""
    rows = []
    for name, digest, size in _rows(record):
        name = re.sub(r"(include/site/)python[\d.]+/", rf"\g<1>python{python}/", name)
        path = Path(os.path.normpath(site / name))
        if not path.is_relative_to(env) or not path.exists():
            rows.append([name, digest, size])
            continue
        content = _mended(env, record, path, venv)
        if content is None:
            path.unlink()
            continue
        if content:
            _replace(path, content)
            hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            digest, size = f"sha256={hashed.decode()}", str(len(content))
        rows.append([name, digest, size])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    _replace(record, text.getvalue().encode())


def _rows(record: Path) -> Iterator[tuple[str, str, str]]:
    with record.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            if row:
                name, digest, size = [*row, "", ""][:3]
                yield name, digest, size


def _mended(env: Path, record: Path, path: Path, venv: Path) -> bytes | None:
    """What a file shall hold; nothing where it is well, None where it shall go."""
    if path.parent == record.parent:
        if path.name == "uv_cache.json":
            return None
        if path.name == "direct_url.json":
            return _origin(path)
    if path.is_relative_to(env / "bin") and path.is_file():
        return _script(path.read_bytes(), venv)
    return b""


def _origin(path: Path) -> bytes | None:
    """Where a distribution came from (PEP 610): not a path of this machine, and no credentials."""
    told = json.loads(path.read_text("utf-8"))
    parts = urlsplit(str(told.get("url", "")))
    if parts.scheme in ("", "file"):
        return None
    host = parts.netloc.rpartition("@")[2]
    told["url"] = urlunsplit(parts._replace(netloc=host))
    return json.dumps(told, sort_keys=True).encode()


def _script(content: bytes, venv: Path) -> bytes:
    """A script with the image's interpreter where it had the installer's; else nothing."""
    own = os.fsencode(venv / "bin" / "python")
    plain = re.compile(rb"#!" + re.escape(own) + rb"[\d.]*(?=[\r\n ])")
    if found := plain.match(content):
        return b"#!" + _INTERPRETER + content[found.end() :]
    # A path that is too long for a first line, or has spaces in it, is wrapped in a shell's.
    wrapped = re.compile(rb"#!/bin/sh\n'''exec' [^\n]*" + re.escape(own) + rb"[^\n]*\n' '''\n")
    if found := wrapped.match(content):
        return b"#!" + _INTERPRETER + b"\n" + content[found.end() :]
    return b""


def _replace(path: Path, content: bytes) -> None:
    """Write anew: what is there may share its bytes with the installer's cache."""
    mode = path.stat().st_mode
    path.unlink()
    path.write_bytes(content)
    path.chmod(mode)
