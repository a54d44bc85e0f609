"""Bundles that come from elsewhere: nothing in them is trusted before it was looked at.

What a manifest and a recipe may hold, and how files get out of a layer: beneath one folder, as
plain files, folders and links that stay inside, no more than their limits.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from coopery.errors import MachineError, Problem, StepError
from coopery.files import beneath
from coopery.trees import scan
from coopery_publish.bundling import ARTIFACT, LAYER, PAYLOAD, PROJECT, VERSION
from coopery_publish.references import parse
from coopery_publish.transfer import MANIFEST, read_json

LARGEST_CONFIG = 32 << 20
"""Bytes of a bundle's recipe."""
_MOST_LAYERS = 10_000
_MOST_ENTRIES = 1_000_000
_LARGEST_HEADER = 1 << 16
"""Bytes of a header that names a file."""
_LONGER = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
"""Headers that say more of the file after them."""
_TABLES = frozenset({"defaults", "image", "task"})


@dataclass(frozen=True)
class Described:
    """A blob as a manifest describes it."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True)
class Contents:
    """What a bundle's manifest names."""

    config: Described
    layers: tuple[Described, ...]


def refused(shown: str, why: str, slug: str = "bundle-damaged") -> MachineError:
    """A bundle that is not used."""
    hint = "take one that coopery has published, and from those you trust"
    if slug == "bundle-version":
        hint = "take a newer coopery, or have it published by an older one"
    return MachineError(
        Problem(slug=slug, message=f"the bundle {shown} is refused: {why}", hint=hint)
    )


def read_manifest(raw: bytes, shown: str, limit: int) -> Contents:
    """What a manifest names; `limit` are the bytes that all of it may have.

    Raises MachineError (`not-a-bundle`, `bundle-damaged`, `bundle-too-large`).
    """
    try:
        found = read_json(raw)
    except ValueError:
        raise refused(shown, "its manifest is no JSON") from None
    config = found.get("config") if isinstance(found, dict) else None
    kinds = {config.get("mediaType")} if isinstance(config, dict) else {"a thing without a recipe"}
    kinds |= {found.get("artifactType") or ARTIFACT} if isinstance(found, dict) else set()
    if kinds != {ARTIFACT}:
        kind = max(str(kind) for kind in kinds if kind != ARTIFACT)[:80]
        message = f"{shown} is no bundle of tasks, but {kind}"
        hint = "an image is named by `prebuilt` or `base` in a recipe; -f names bundles"
        if "coopery.bundle" in kind:
            raise refused(shown, f"it is of the unknown kind {kind}", "bundle-version")
        raise MachineError(Problem(slug="not-a-bundle", message=message, hint=hint))
    layers = found.get("layers")
    if found.get("mediaType", MANIFEST) != MANIFEST or not isinstance(layers, list):
        raise refused(shown, "its manifest has no layers")
    if len(layers) > _MOST_LAYERS:
        raise refused(shown, f"it has {len(layers)} layers")
    contents = Contents(
        _described(config, shown), tuple(_described(each, shown) for each in layers)
    )
    for layer in contents.layers:
        if layer.media_type != LAYER:
            raise refused(
                shown, f"a layer is of the unknown kind {layer.media_type[:80]}", "bundle-version"
            )
    total = sum(layer.size for layer in contents.layers) + contents.config.size
    if total > limit or contents.config.size > LARGEST_CONFIG:
        message = f"the bundle {shown} has {total:,} bytes; it may have {limit:,}"
        hint = "where that is meant, allow it: --bundle-limit MB"
        raise MachineError(Problem(slug="bundle-too-large", message=message, hint=hint))
    return contents


def _described(found: Any, shown: str) -> Described:
    if isinstance(found, dict):
        kind, digest, size = (found.get(name) for name in ("mediaType", "digest", "size"))
        good = isinstance(kind, str) and isinstance(digest, str)
        if good and type(size) is int and size >= 0 and _is_digest(str(digest)):
            return Described(str(kind), str(digest), size)
    raise refused(shown, "its manifest describes a blob that is none")


def _is_digest(text: str) -> bool:
    kind, _, value = text.partition(":")
    return kind == "sha256" and len(value) == 64 and set(value) <= set("0123456789abcdef")


def read_recipe(raw: bytes, shown: str) -> Mapping[str, Any]:
    """The tables of the recipe in a bundle's configuration.

    Images are ones to use as they are, by digest, and every task runs in one of them: a bundle
    builds nothing, asks no index, and runs nothing on the machine itself.
    Raises MachineError (`bundle-damaged`, `bundle-version`).
    """
    try:
        found = read_json(raw)
    except ValueError:
        raise refused(shown, "its recipe is no JSON") from None
    if not isinstance(found, dict) or "version" not in found:
        raise refused(shown, "its recipe is no table with a version")
    if found["version"] != VERSION:
        known = f"it is of version {str(found['version'])[:20]}, and {VERSION} is known here"
        raise refused(shown, known, "bundle-version")
    recipe = found.get("recipe")
    if not isinstance(recipe, dict) or not all(isinstance(t, dict) for t in recipe.values()):
        raise refused(shown, "its recipe has no tables")
    if more := sorted({*recipe} - _TABLES):
        raise refused(shown, f"its recipe has the table {more[0][:80]!r}")
    if {*recipe.get("defaults", {})} - {"runtime"}:
        raise refused(shown, "its recipe has defaults")
    if why := _unheard_of(recipe):
        raise refused(shown, f"its recipe holds {why}")
    images = recipe.get("image", {})
    for name, image in images.items():
        _check_image(name, image, shown)
    for name, task in recipe.get("task", {}).items():
        # A task without one would run on this machine itself, and one of its own would be built.
        image = task.get("image") if isinstance(task, dict) else None
        if not isinstance(image, str) or image not in images:
            raise refused(shown, f"its task {name[:80]!r} names none of its images")
    return recipe


def _unheard_of(value: Any) -> str | None:
    """What no recipe could say, though JSON can: half characters, and numbers that are none."""
    match value:
        case dict():
            found = (_unheard_of(item) for pair in value.items() for item in pair)
        case list():
            found = (_unheard_of(item) for item in value)
        case str() if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            return "a text that is none"
        case float() if not math.isfinite(value):
            return "a number that is none"
        case int() if not -(2**63) <= value < 2**63:
            return "a number with too many digits"
        case _:
            return None
    return next(filter(None, found), None)


def _check_image(name: str, image: Any, shown: str) -> None:
    known = {"prebuilt", "python", "env", "description"}
    prebuilt = image.get("prebuilt") if isinstance(image, dict) else None
    if not isinstance(prebuilt, dict) or {*image} - known:
        raise refused(shown, f"its image {name[:80]!r} is not one to use as it is")
    try:
        reference = parse(str(prebuilt.get("reference")))
    except ValueError:
        reference = None
    if reference is None or reference.digest is None or not prebuilt.get("platform"):
        raise refused(shown, f"its image {name[:80]!r} is not named by a digest and platform")


class _Header(tarfile.TarInfo):
    """A header of a tar that does not make this process read anything large."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _LONGER and self.size > _LARGEST_HEADER:
            raise tarfile.ReadError("a header is too large")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a file is sparse")
        return super()._proc_member(archive)  # type: ignore[misc]


class Unpacker:
    """Puts the files of layers beneath one folder, which must be new."""

    def __init__(self, folder: Path, shown: str, limit: int) -> None:
        self._folder, self._shown = folder, shown
        self._left, self._count = limit, 0
        self._links: dict[str, str] = {}
        for name in (PROJECT, PAYLOAD):
            (folder / name).mkdir()

    def unpack(self, file: IO[bytes]) -> None:
        """Put a layer's files there. Raises MachineError (`bundle-damaged`)."""
        try:
            with tarfile.open(fileobj=file, mode="r|", tarinfo=_Header) as archive:
                for member in archive:
                    self._count += 1
                    if self._count > _MOST_ENTRIES:
                        raise self._refused("it holds too many files")
                    self._put(archive, member)
        except (tarfile.TarError, EOFError, RecursionError, UnicodeError) as error:
            raise self._refused(f"a layer is no tar of files: {error}") from None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise self._refused("it names a file by more than the system takes") from None

    def finish(self) -> None:
        """Make the links, once nothing is written any more that could go through one."""
        for name, target in self._links.items():
            place = self._place(name)
            if os.path.lexists(place):
                raise self._refused(f"it holds {name!r} twice")
            place.symlink_to(target)
        try:
            for part in (PROJECT, PAYLOAD):
                scan(self._folder / part)
            for name in self._links:
                beneath(self._folder, name)
        except StepError as error:
            raise self._refused(error.problems[0].message) from None
        except (ValueError, OSError) as error:
            raise self._refused(f"a link in it leads outside: {error}") from None

    def _put(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = member.name
        place = self._place(name)
        if member.issym():
            if not member.linkname or member.linkname.startswith("/") or "\0" in member.linkname:
                raise self._refused(f"the link {name!r} is absolute")
            self._links[name] = member.linkname
            return
        if member.isdir():
            self._made(place, name)
            return
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise self._refused(f"{name!r} is neither a file nor a folder nor a symbolic link")
        self._left -= member.size
        if self._left < 0:
            raise self._refused(f"{name!r} is larger than the bundle may be")
        self._made(place.parent, name)
        source = archive.extractfile(member)
        assert source is not None, "a regular file has contents"
        mode = 0o555 if member.mode & 0o100 else 0o444
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(place, flags, 0o600), "wb") as target:  # noqa: PTH123
                shutil.copyfileobj(source, target, 1 << 20)
                os.fchmod(target.fileno(), mode)
        except FileExistsError:
            raise self._refused(f"it holds {name!r} twice") from None
        os.utime(place, (EPOCH, EPOCH))

    def _made(self, folder: Path, name: str) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise self._refused(f"{name!r} lies in a file") from None

    def _place(self, name: str) -> Path:
        """Where a name belongs: beneath the project or the payload."""
        try:
            place = beneath(self._folder, name)
        except (ValueError, OSError) as error:
            raise self._refused(f"it names a file outside: {error}") from None
        parts: Sequence[str] = place.relative_to(self._folder).parts
        if not parts or parts[0] not in (PROJECT, PAYLOAD):
            raise self._refused(f"it names {name!r}, which is of neither part of a bundle")
        if any(len(os.fsencode(part)) > 255 for part in parts):
            raise self._refused("it names a file by more than 255 bytes")
        return place

    def _refused(self, why: str) -> MachineError:
        return refused(self._shown, why)


EPOCH = 315532800
"""The time stamp of all files of a bundle: whoever changes one leaves another."""


def listing(folder: Path) -> list[list[Any]]:
    """The files of an unpacked bundle as they must stay: path, size, and whether a link."""
    found: list[list[Any]] = []
    for part in (PROJECT, PAYLOAD):
        top = folder / part
        for entry in scan(top):
            status = entry.stat
            name = f"{part}/{os.fsdecode(entry.name)}"
            if entry.kind == "d":
                found.append([name, "d"])
            elif entry.kind == "l":
                found.append([name, "l", os.fsdecode(entry.target)])
            else:
                executable = bool(status.st_mode & 0o100)
                found.append([name, "f", status.st_size, executable, int(status.st_mtime)])
    return found
