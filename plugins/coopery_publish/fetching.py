"""`-f HOST/NAME@DIGEST`: a bundle becomes a recipe file in the home folder, once a digest."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from coopery.errors import KeyPath, MachineError, Place, Problem, RecipeError, StepError
from coopery.recipes import Document
from coopery.secrets import Secrets
from coopery_publish import keeping
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
_ROUNDS = 3
"""How often a bundle is fetched that somebody takes away at once."""
_MEANT = re.compile(r"\A[^/@]+:[0-9]+/|@sha256:")
"""What stands in references, and hardly in the name of a file."""
Tell = Callable[[str], None]


def as_reference(text: str) -> Reference | None:
    """The reference that `-f` names; None for what is rather a file.

    Raises RecipeError (`bad-reference`) for what can only be a reference, and is none.
    """
    first, slash, rest = text.partition("/")
    if not slash or not ("." in first.strip(".") or ":" in first or first == "localhost"):
        return None
    if ":" not in rest and "@" not in rest:
        return None
    try:
        return parse(text)
    except ValueError as error:
        if not _MEANT.search(text):
            return None  # a file that is not there, says who looks for files
        message = f"-f {text}: {error}"
        hint = "write HOST/NAME@sha256: and the 64 digits that `coopery publish` prints"
        raise RecipeError(Problem(slug="bad-reference", message=message, hint=hint)) from None


def fetch(reference: Reference, home: Path, limit: int, tell: Tell, secrets: Secrets) -> Path:
    """The recipe file of a bundle, fetched unless the home folder has it.

    `limit` are the bytes that a bundle may have. Raises MachineError.
    """
    shown = str(reference)
    digest = reference.digest
    if digest is not None and (kept := _held(home, digest, shown)):
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
        if kept := _held(home, digest, shown):
            return kept
    contents = read_manifest(raw, shown, limit)
    for _ in range(_ROUNDS):
        with keeping.exclusive(_folder(home, digest), tell) as folder:
            if not _kept(home, digest, shown):  # else another process was first
                tell(f"fetch    {reference.at(digest)}")
                _fill(folder, raw, contents, repository, shown, limit)
        if kept := _held(home, digest, shown):
            return kept
    raise refused(shown, "it does not stay as it was fetched")


def _folder(home: Path, digest: str) -> Path:
    return home / "bundles" / digest.removeprefix("sha256:")


def _held(home: Path, digest: str, shown: str) -> Path | None:
    """As `_kept`, and nobody takes it away as long as this process lives."""
    folder = _folder(home, digest)
    if not (folder / keeping.COMPLETE).is_file():
        return None
    with keeping.shared(folder) as stay:
        kept = _kept(home, digest, shown)
        if kept is not None:
            stay()
        return kept


def _fill(
    folder: Path, raw: bytes, contents: Contents, repository: Repository, shown: str, limit: int
) -> None:
    """Make a bundle's folder, of which nothing is left where something of it is refused."""
    if folder.exists():
        shutil.rmtree(folder)  # it is not as it was, or its maker was killed
    folder.mkdir()
    try:
        (folder / _MANIFEST).write_bytes(raw)
        config = repository.read_blob(contents.config.digest, contents.config.size)
        read_recipe(config, shown)
        unpacker = Unpacker(folder, shown, limit)
        for layer in contents.layers:
            path = folder / "layer.tar"
            repository.save_blob(layer.digest, layer.size, path)
            with path.open("rb") as file:
                unpacker.unpack(file)
            path.unlink()
        unpacker.finish()
        (folder / FILE).write_bytes(config)
        (folder / _LISTING).write_text(json.dumps(listing(folder)), "utf-8")
        (folder / keeping.COMPLETE).touch()
    except BaseException:
        shutil.rmtree(folder)
        raise


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
