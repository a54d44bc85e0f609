"""`-f HOST/NAME@DIGEST`: a bundle becomes a recipe file in the home folder, once a digest."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from coopery.errors import KeyPath, MachineError, Place, Problem, StepError
from coopery.recipes import Document
from coopery.secrets import Secrets
from coopery_publish.bundling import PROJECT
from coopery_publish.client import Client
from coopery_publish.logins import find_login
from coopery_publish.references import Reference, parse
from coopery_publish.transfer import Repository
from coopery_publish.unpacking import (
    Contents,
    Unpacker,
    listing,
    read_manifest,
    read_recipe,
    refused,
)

FILE = "recipe.bundle"
"""The frozen recipe, in the folder of a bundle."""
_MANIFEST, _LISTING = "manifest.json", "files.json"
Tell = Callable[[str], None]


def as_reference(text: str) -> Reference | None:
    """The reference that `-f` names; None for what is rather a file."""
    first, slash, rest = text.partition("/")
    if not slash or not ("." in first.strip(".") or ":" in first or first == "localhost"):
        return None
    if ":" not in rest and "@" not in rest:
        return None
    try:
        return parse(text)
    except ValueError:
        return None


def fetch(reference: Reference, home: Path, limit: int, tell: Tell, secrets: Secrets) -> Path:
    """The recipe file of a bundle, fetched unless the home folder has it.

    `limit` are the bytes that a bundle may have. Raises MachineError.
    """
    shown = str(reference)
    digest = reference.digest
    if digest is not None and (kept := _kept(home, digest, shown)):
        return kept
    client = Client(reference.host, lambda: find_login(reference.host, None, secrets), tell)
    repository = Repository(client, reference.repository)
    found = repository.manifest(digest or reference.tag or "latest")
    if found is None:
        message = f"the registry {reference.host} has no {shown}"
        hint = "check the name, and the tag or digest; `coopery publish` prints it"
        raise MachineError(Problem(slug="registry-missing", message=message, hint=hint))
    raw, digest, _ = found
    if reference.digest is None:
        tell(f"warning: {shown} may be another bundle tomorrow; this one is {reference.at(digest)}")
        if kept := _kept(home, digest, shown):
            return kept
    contents = read_manifest(raw, shown, limit)
    tell(f"fetch    {reference.at(digest)}")
    folder = _folder(home, digest)
    with scratch(home) as made:
        new = made / "bundle"
        new.mkdir()
        (new / _MANIFEST).write_bytes(raw)
        _fill(new, contents, repository, shown, limit)
        for file in (new / FILE, new / _LISTING):
            _settle(file)
        with (folder.parent / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if kept := _kept(home, digest, shown):
                return kept  # another process was first
            if folder.exists():
                shutil.rmtree(folder)  # it is not as it was
            new.rename(folder)
    return folder / FILE


def _settle(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folder(home: Path, digest: str) -> Path:
    return home / "bundles" / digest.removeprefix("sha256:")


def _fill(new: Path, contents: Contents, repository: Repository, shown: str, limit: int) -> None:
    config = repository.read_blob(contents.config.digest, contents.config.size)
    read_recipe(config, shown)
    unpacker = Unpacker(new, shown, limit)
    for number, layer in enumerate(contents.layers):
        path = new.with_name(f"{number}.tar")
        repository.save_blob(layer.digest, layer.size, path)
        with path.open("rb") as file:
            unpacker.unpack(file)
        path.unlink()
    unpacker.finish()
    (new / FILE).write_bytes(config)
    (new / _LISTING).write_text(json.dumps(listing(new)), "utf-8")


def _kept(home: Path, digest: str, shown: str) -> Path | None:
    """The recipe of a bundle that was fetched before, and that nobody has touched since."""
    import hashlib

    folder = _folder(home, digest)
    try:
        raw = (folder / _MANIFEST).read_bytes()
        if f"sha256:{hashlib.sha256(raw).hexdigest()}" != digest:
            return None
        contents = read_manifest(raw, shown, 1 << 62)
        config = (folder / FILE).read_bytes()
        if f"sha256:{hashlib.sha256(config).hexdigest()}" != contents.config.digest:
            return None
        known = json.loads((folder / _LISTING).read_text("utf-8"))
        return folder / FILE if listing(folder) == known else None
    except (OSError, ValueError, StepError):
        return None


@contextmanager
def scratch(home: Path) -> Iterator[Path]:
    """A folder for this process beside the bundles; what those left that were killed goes."""
    folder = home / "bundles"
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    with tempfile.TemporaryDirectory(prefix=f".new-{os.getpid()}-", dir=folder) as made:
        yield Path(made)


def _clear(folder: Path) -> None:
    for path in folder.glob(".new-*"):
        number = path.name.split("-")[1]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except (ValueError, PermissionError):
            continue  # it is another user's, or nobody's that can be told


def load(path: Path) -> Document:
    """The document in a bundle's recipe file. Raises MachineError (`bundle-damaged`)."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise refused(str(path), str(error.strerror)) from None
    recipe = read_recipe(raw, str(path))

    def locate(key: KeyPath) -> Place:
        return Place(file=str(path), key=key)

    return Document(data=recipe, locate=locate, root=path.parent / PROJECT)
