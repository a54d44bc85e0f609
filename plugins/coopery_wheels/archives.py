"""Wheel files: what is wrong with one, and the same wheel packed the one canonical way."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packaging.tags import Tag, compatible_tags, cpython_tags, sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from coopery.errors import StepError, problem

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip file can tell."""
# Signatures cover RECORD, so it cannot list them; repacking makes them void.
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")
_LINUX = re.compile(r"(?:many|musl)?linux")
_HASHES = ("sha256", "sha384", "sha512")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a wheel: a problem without its place."""

    slug: str
    message: str
    hint: str | None = None


def name_and_version(filename: str) -> tuple[str, str]:
    """The canonical name and the version in a wheel's file name. Raises ValueError (PEP 427)."""
    try:
        name, version, _, _ = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise ValueError(str(error)) from None
    return name, str(version)


def faults(path: Path, python: str | None, *, elsewhere: bool = False) -> Iterator[Fault]:
    """What is wrong with a wheel file, as far as its name and its table of contents tell.

    Hashes are not computed: that is for `repack`, once per content. `python` is X.Y. With
    `elsewhere` it may be for another Linux than that of this machine.
    """
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        yield Fault(slug="wheel-name", message=str(error))
        return
    if python is not None and not _fits(tags, python, elsewhere):
        shown = ", ".join(sorted(str(tag) for tag in tags))
        yield Fault(
            slug="wheel-tags",
            message=f"{path.name} ({shown}) does not fit Python {python} on this platform",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            yield from _content_faults(archive, name, str(version))
    except (zipfile.BadZipFile, OSError) as error:
        yield Fault(slug="wheel-damaged", message=f"{path.name} cannot be read: {error}")


def _fits(tags: frozenset[Tag], python: str, elsewhere: bool) -> bool:
    known = _supported(python)
    if tags & known:
        return True
    kinds = {(tag.interpreter, tag.abi) for tag in known}
    linux = (tag for tag in tags if _LINUX.match(tag.platform))
    return elsewhere and any((tag.interpreter, tag.abi) in kinds for tag in linux)


def _supported(python: str) -> set[Tag]:
    import sys

    major, minor = (int(part) for part in python.split("."))
    if (major, minor) == sys.version_info[:2]:
        return set(sys_tags())
    return {
        *cpython_tags((major, minor)),
        *compatible_tags((major, minor), interpreter=f"cp{major}{minor}"),
    }


def _content_faults(archive: zipfile.ZipFile, name: str, version: str) -> Iterator[Fault]:
    members = archive.infolist()
    names = [member.filename for member in members]
    for member in members:
        if reason := _unsafe(member):
            yield Fault(slug="unsafe-wheel", message=f"member {member.filename!r} {reason}")
    for twice in sorted({n for n in names if names.count(n) > 1} if _repeats(names) else ()):
        yield Fault(slug="unsafe-wheel", message=f"member {twice!r} is there twice")
    info = _info_folder(names)
    if info is None:
        yield Fault(slug="wheel-damaged", message="it has not exactly one .dist-info folder")
        return
    missing = [f for f in ("METADATA", "WHEEL", "RECORD") if f"{info}/{f}" not in names]
    if missing:
        yield Fault(slug="wheel-damaged", message=f"{info} lacks {', '.join(missing)}")
        return
    headers = read_headers(archive.read(f"{info}/METADATA").decode("utf-8", "replace"))
    told = header(headers, "Name") or "", header(headers, "Version") or ""
    if canonicalize_name(told[0]) != name or not _same_version(told[1], version):
        message = f"its file name says {name} {version}, its METADATA {told[0]} {told[1]}"
        yield Fault(slug="wheel-mismatch", message=message)
    listed = set(_record(archive, info))
    files = {n for n in names if not n.endswith("/")}
    files -= {f"{info}/{signature}" for signature in _SIGNATURES}
    for extra in sorted(files - listed):
        yield Fault(slug="wheel-record", message=f"RECORD does not list {extra!r}")
    for lost in sorted(listed - files):
        yield Fault(slug="wheel-record", message=f"RECORD lists {lost!r}, which is not there")


def _repeats(names: list[str]) -> bool:
    return len(set(names)) != len(names)


def _same_version(one: str, other: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return False


def _unsafe(member: zipfile.ZipInfo) -> str | None:
    name = member.filename
    if not name or name.startswith("/") or "\\" in name or name[1:2] == ":":
        return "is not a relative path"
    if ".." in PurePosixPath(name).parts:
        return "leads outside"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    return None


def _info_folder(names: list[str]) -> str | None:
    found = {n.split("/")[0] for n in names if n.split("/")[0].endswith(".dist-info")}
    return found.pop() if len(found) == 1 else None


def _record(archive: zipfile.ZipFile, info: str) -> dict[str, str]:
    """File -> `algorithm=digest` as RECORD says; the digest is empty for RECORD itself."""
    text = archive.read(f"{info}/RECORD").decode("utf-8", "replace")
    return {row[0]: row[1] if len(row) > 1 else "" for row in csv.reader(io.StringIO(text)) if row}


def read_headers(text: str) -> tuple[tuple[str, str], ...]:
    """The header fields of core metadata, in order; the description is left alone."""
    fields: list[tuple[str, str]] = []
    for line in text.splitlines():
        if not line:
            break
        if line[0] in " \t" and fields:
            name, value = fields[-1]
            fields[-1] = (name, f"{value}\n{line.strip()}")
        else:
            name, _, value = line.partition(":")
            fields.append((name.strip().lower(), value.strip()))
    return tuple(fields)


def header(headers: tuple[tuple[str, str], ...], name: str) -> str | None:
    """The first field of this name."""
    return next((value for key, value in headers if key == name.lower()), None)


def read_metadata(path: Path) -> str:
    """The METADATA of a wheel file that has no faults."""
    with zipfile.ZipFile(path) as archive:
        info = _info_folder(archive.namelist())
        return archive.read(f"{info}/METADATA").decode("utf-8", "replace")


def repack(source: Path, folder: Path) -> Path:
    """Verify every hash of a wheel and write it anew, so that equal content gives equal bytes.

    Entries are stored sorted, metadata last as PEP 427 advises, with one time and two modes;
    RECORD is sorted too. Raises StepError with whatever is wrong with it.
    """
    found = list(faults(source, None))
    if found:
        raise StepError(
            *(problem(f.slug, f"{source.name}: {f.message}", hint=f.hint) for f in found)
        )
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.name
    rows: list[tuple[str, str, str]] = []
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "x") as new:
        info = _info_folder(old.namelist())
        assert info is not None  # `faults` has seen to it.
        record = f"{info}/RECORD"
        told = _record(old, info)
        void = {record, *(f"{info}/{signature}" for signature in _SIGNATURES)}
        members = [m for m in old.infolist() if not m.is_dir() and m.filename not in void]
        for member in sorted(members, key=lambda m: (m.filename.startswith(info), m.filename)):
            digest, size = _copy(old, new, member, told[member.filename])
            rows.append((member.filename, f"sha256={digest}", str(size)))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*sorted(rows), (record, "", "")])
        new.writestr(_entry(record, executable=False), text.getvalue())
    return target


def _entry(name: str, *, executable: bool) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_STORED
    entry.create_system = 3
    entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    return entry


_AGAIN = "fetch or build the wheel again"


def _copy(
    old: zipfile.ZipFile, new: zipfile.ZipFile, member: zipfile.ZipInfo, told: str
) -> tuple[str, int]:
    """Copy a member while hashing it; its sha256 as in RECORD, and its size in bytes."""
    algorithm, _, wanted = told.partition("=")
    if algorithm not in _HASHES:
        message = f"RECORD has no secure hash for {member.filename!r} (found {algorithm or 'none'})"
        raise StepError(problem("wheel-record", message, hint=_AGAIN))
    hashes = {name: hashlib.new(name) for name in {"sha256", algorithm}}
    entry = _entry(member.filename, executable=bool((member.external_attr >> 16) & 0o111))
    entry.file_size = member.file_size
    try:
        with old.open(member) as reader, new.open(entry, "w") as writer:
            while block := reader.read(1 << 20):
                writer.write(block)
                for each in hashes.values():
                    each.update(block)
    except zipfile.BadZipFile as error:
        message = f"{member.filename!r}: {error}"
        raise StepError(problem("wheel-damaged", message, hint=_AGAIN)) from None
    if _text(hashes[algorithm].digest()) != wanted.rstrip("="):
        message = f"{member.filename!r} is not what RECORD says: its {algorithm} differs"
        raise StepError(problem("wheel-record", message, hint=_AGAIN))
    return _text(hashes["sha256"].digest()), member.file_size


def _text(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
