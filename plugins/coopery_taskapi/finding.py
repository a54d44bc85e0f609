"""Where the specification of an image is found: in a file, else in the image itself.

In an image it is the text of a label, or a file at its root. The image is never started for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from coopery.commands import Context
from coopery.errors import Problem, RecipeError, problem
from coopery.glimpses import Glimpse
from coopery.logins import RegistryLogin, host_of
from coopery.model import Secret
from coopery.secrets import Secrets
from coopery_taskapi import text
from coopery_taskapi.models import Config, ProcessingContainer, Task, Template
from coopery_taskapi.reading import Read, check, located, read_container

LABEL = "coopery.processing-container"
"""The label of an image whose text is its specification."""
FILE = "/processing-container.json"
"""Where an image has its specification, if it has no such label."""
_PASSWORD = Secret(name="registryPassword")
Look = Callable[[str, Sequence[str]], Glimpse]
"""Looks into an image, by its reference and the paths of files in it."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A specification, and where it is from. Of a task that has its own template there is none."""

    container: Read[ProcessingContainer] | None
    source: str


def specification_of(
    task: Read[Task], file: str | None, context: Context, sets: Sequence[str] = ()
) -> Found:
    """The specification that a task's template is in: that of a `file`, else of its image.

    Raises RecipeError with what is wrong in it, or `no-specification`; MachineError where the
    image cannot be had.
    """
    if isinstance(task.document.taskTemplate, Template):
        return Found(container=None, source="the task itself")
    if file is not None:
        return Found(container=read_container(Path(file), file, sets), source=file)
    login, told = login_of(task)
    for warning in told:
        context.tell(f"warning: {warning}")
    return look(task.document.image, context, login, _secrets(task.document.config, context))


def look(
    image: str,
    context: Context,
    login: RegistryLogin | None = None,
    secrets: Secrets | None = None,
) -> Found:
    """The specification of an image, through an engine that has it, else from its registry.

    Raises RecipeError with what is wrong in it, or `no-specification`; MachineError where the
    image cannot be had.
    """
    given = secrets or context.plugins.secrets(context.settings)
    plugins, settings, tell = context.plugins, context.settings, context.tell

    def into(reference: str, paths: Sequence[str]) -> Glimpse:
        return plugins.look_into_image(reference, paths, settings, tell, given, login)

    seen = see(image, into)
    if seen.content is not None:
        return _found(seen.content, seen.shown, seen.glimpse.source)
    message = f"the image {image} says nothing of what it can do: it has no {FILE}"
    hint = f"put one into it: COPY processing-container.json {FILE}; or give --specification FILE"
    raise RecipeError(Problem(slug="no-specification", message=message, hint=hint))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What an image says it can do, as it stands there (None where it says nothing), and where
    (`shown`); with the last `glimpse` at it.
    """

    content: bytes | None
    shown: str
    glimpse: Glimpse


def see(image: str, into: Look) -> Seen:
    """What an image says it can do: by its label, else by the file at its root."""
    glimpse = into(image, ())
    if (label := glimpse.labels.get(LABEL)) is not None:
        content = label.encode("utf-8", "surrogateescape")
        return Seen(content=content, shown=f"{image} (label {LABEL})", glimpse=glimpse)
    glimpse = into(image, (FILE,))
    return Seen(content=glimpse.files.get(FILE), shown=f"{image}:{FILE}", glimpse=glimpse)


def _found(content: bytes, shown: str, source: str) -> Found:
    read = check(text.read(content, shown), ProcessingContainer, None)
    where = "the container engine" if source == "engine" else source
    return Found(container=read, source=f"{shown}, from {where}")


def login_of(task: Read[Task]) -> tuple[RegistryLogin | None, tuple[Problem, ...]]:
    """Who a task says one is at its image's registry, and what should be told of that.

    What it says of another registry is handed to none.
    """
    config = task.document.config or Config()
    if not (config.registryUsername and config.registryPassword):
        return None, ()
    host = host_of(task.document.image)
    named = _host(config.registryUrl) if config.registryUrl else host
    if named != host:
        message = f"registryUrl names {named}, and the image is of {host}: no credentials are used"
        hint = f"write {host} as registryUrl, or name an image of {named}"
        told = problem("other-registry", message, key=("config", "registryUrl"), hint=hint)
        return None, (located(told, task.text),)
    return RegistryLogin(host=host, username=config.registryUsername, password=_PASSWORD), ()


def _host(url: str) -> str:
    """The host, with its port, of a registry's URL, of which the scheme may be missing."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    return parts.netloc.rpartition("@")[2]


def _secrets(config: Config | None, context: Context) -> Secrets:
    """A reader that knows the password of a document, and all that others provide."""
    others = context.plugins.secrets(context.settings)

    def provide(secret: Secret) -> str:
        if secret is _PASSWORD and config and config.registryPassword:
            return config.registryPassword
        return others.read(secret)

    return Secrets(provide)
