"""To a registry: images by the engine, bundles by ourselves; what is there is not sent again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coopery.bundles import BuiltImage, Bundle, Parcel, Published
from coopery.errors import Problem, RecipeError
from coopery.logins import login_at
from coopery.secrets import Secrets
from coopery_publish import refusals
from coopery_publish.client import Client
from coopery_publish.logins import find_login
from coopery_publish.references import Reference, parse
from coopery_publish.transfer import Repository

_KEY = 24
"""How many digits of a key, or digest, a content-named tag has: 96 bits."""
Tell = Callable[[str], None]


def target_of(text: str) -> Reference:
    """Where to publish to. Raises RecipeError (`bad-reference`)."""
    try:
        found = parse(text)
    except ValueError as error:
        raise _bad(text, str(error)) from None
    if found.tag or found.digest:
        raise _bad(text, "tags are given by --tag, and digests are what comes of it")
    return found


def _bad(text: str, why: str) -> RecipeError:
    _, at, rest = text.partition("@")
    if at and not rest.startswith("sha256:"):
        text = f"****@{rest}"  # credentials belong elsewhere, and into no message
    message = f"--to {text}: {why}"
    hint = "write HOST/NAME: --to registry.example:5000/team/name"
    return RecipeError(Problem(slug="bad-reference", message=message, hint=hint))


def publish(parcel: Parcel, tell: Tell, secrets: Secrets) -> tuple[Published, ...]:
    """Send a parcel to a registry: first its images, then the bundle that names them.

    Raises MachineError (`registry-…`, `push-failed`), RecipeError.
    """
    target = target_of(parcel.target)
    given = login_at(parcel.recipe, target.host)
    client = Client(target.host, lambda: find_login(target.host, given, secrets), tell)
    repository = Repository(client, target.repository)
    bundled = parcel.bundle is not None
    done = []
    for image in parcel.images:
        if image.pinned:
            continue  # it can be had where it is
        tags = () if bundled else tuple(_image_tag(parcel, image, tag) for tag in parcel.tags)
        done.append(_send_image(image, target, repository, tags, tell))
    references = {item.name: item.reference for item in done}
    references |= {i.name: i.pinned for i in parcel.images if i.pinned and i.name not in references}
    if parcel.bundle is not None:
        bundle = parcel.bundle(references)
        done.append(_send_bundle(bundle, target, repository, parcel.tags, tell))
    return tuple(done)


def _image_tag(parcel: Parcel, image: BuiltImage, tag: str) -> str:
    return tag if len(parcel.images) == 1 else f"{image.name}-{tag}"


def _send_image(
    image: BuiltImage, target: Reference, repository: Repository, tags: Sequence[str], tell: Tell
) -> Published:
    """An image under the tag that its key gives it, and under the user's."""
    own = f"{image.name}-{image.key[:_KEY]}"
    digest = repository.digest_of(own)
    there = digest is not None
    if digest is None:
        digest = image.push(f"{target.name}:{own}")
        if not repository.has_manifest(digest):
            said = f"does not have {target.at(digest)}, which the engine says it pushed"
            raise refusals.broken(target.host, said)
    else:
        tell(f"there    {target.name}:{own}")
    if tags:
        found = repository.manifest(digest)
        if found is None:
            raise refusals.broken(target.host, f"has lost {target.at(digest)}")
        for tag in tags:
            _tag(repository, found[0], found[2], digest, tag)
    return Published(
        kind="image",
        name=image.name,
        reference=target.at(digest),
        names=tuple(f"{target.name}:{tag}" for tag in (own, *tags)),
        sent=0 if there else None,
    )


def _send_bundle(
    bundle: Bundle, target: Reference, repository: Repository, tags: Sequence[str], tell: Tell
) -> Published:
    """A bundle: what it consists of first, so that who finds it finds all of it."""
    manifest = bundle.manifest
    own = f"bundle-{manifest.digest.removeprefix('sha256:')[:_KEY]}"
    before = repository.sent
    if repository.has_manifest(manifest.digest):
        tell(f"there    {target.at(manifest.digest)}")
    else:
        tell(f"push     {target.name}:{own}")
        for blob in bundle.blobs:
            repository.put_blob(blob)
    raw = manifest.content or b""
    for tag in (own, *tags):
        _tag(repository, raw, manifest.media_type, manifest.digest, tag)
    return Published(
        kind="bundle",
        reference=target.at(manifest.digest),
        names=tuple(f"{target.name}:{tag}" for tag in (own, *tags)),
        sent=repository.sent - before,
    )


def _tag(repository: Repository, raw: bytes, kind: str, digest: str, tag: str) -> None:
    if repository.digest_of(tag) != digest:
        repository.put_manifest(raw, kind, tag)
