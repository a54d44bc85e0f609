"""What images are made of: requirements before resolution, pins after it, layers to build from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

from coopery.errors import KeyPath, Place
from coopery.images import Base
from coopery.marks import unkeyed
from coopery.model import Index, Resources, Secret
from coopery.repositories import Access
from coopery.steps import Need, Step


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """One line that asks for a package: a PEP 508 `line` and where it stands.

    `constraint` lines (pip's `-c`) only restrict. `local` names a distribution that a plugin
    brings itself (a project, a wheel file): the resolver sees its metadata's requirements, given
    as further lines whose `origin` is that name, and never looks it up. A `bundled` one is pinned
    like any other, but the plugin that asks for it fetches it and brings it as a wheel.
    """

    line: str
    place: Place
    constraint: bool = False
    hashes: tuple[str, ...] = ()
    origin: str | None = None
    bundled: bool = False
    access: Annotated[Access | None, unkeyed] = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalDistribution:
    """A distribution that comes from a project or a wheel file, never from an index.

    `requires` are its metadata's requirement lines, with the place of the metadata.
    """

    name: str
    version: str
    requires: tuple[Requirement, ...]
    place: Place
    extras: tuple[str, ...] = ()
    requires_python: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexOptions:
    """Index options written in requirements files, in pip's terms (`--index-url`, …), and the
    indexes that the recipe names.
    """

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    pre: bool = False
    no_binary: tuple[str, ...] = ()
    only_binary: tuple[str, ...] = ()
    named: tuple[Index, ...] = ()
    places: Annotated[tuple[tuple[str, Place], ...], unkeyed] = field(
        default=(), compare=False, repr=False
    )
    """Where each URL stands, for messages alone."""

    @property
    def rotated(self) -> tuple[tuple[str, str], ...]:
        """The secrets, by name and rotation, that are to be taken for others than before: what
        was installed with them is installed again.
        """
        given = (secret for item in self.named for secret in (item.username, item.password))
        secrets = (x for x in given if isinstance(x, Secret) and x.rotation is not None)
        return tuple(sorted({(secret.name, str(secret.rotation)) for secret in secrets}))

    def place_of(self, url: str) -> Place | None:
        """Where this URL, or one of its host, is written."""
        host = urlsplit(url).netloc.rpartition("@")[2]
        for given, place in self.places:
            if urlsplit(given).netloc.rpartition("@")[2] == host:
                return place
        return None


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one plugin adds to an image's dependency set; see `DependencySet` for `variant`."""

    requirements: tuple[Requirement, ...] = ()
    locals: tuple[LocalDistribution, ...] = ()
    index: IndexOptions = IndexOptions()
    variant: str = ""


@dataclass(frozen=True, kw_only=True)
class DependencySet:
    """Everything one image asks for, merged; what the lock resolves. Equal sets share an entry."""

    image: str
    python: str
    requirements: tuple[Requirement, ...]
    locals: tuple[LocalDistribution, ...]
    index: IndexOptions
    base: str | None = None
    """The reference of the base image, under a runtime that wants bases."""
    variant: str = ""
    """What an option makes of it that is not as the recipe says; empty where it is. The lock keeps
    a variant's answer beside the recipe's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """A package at one version. `hashes` are `sha256:…`; `url` for direct references.

    `requirement` is the line an installer takes (`numpy==2.1.0`, `pkg @ https://…`). One of a git
    repository has the URL `git+URL@COMMIT` and no hashes: the commit stands for all that is there.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    url: str | None = None

    @property
    def requirement(self) -> str:
        """The requirement an installer takes for it."""
        return f"{self.name} @ {self.url}" if self.url else f"{self.name}=={self.version}"

    @property
    def line(self) -> str:
        """The line of a requirements file for it: the requirement, with its hashes."""
        return " ".join([self.requirement, *(f"--hash={value}" for value in sorted(self.hashes))])


@dataclass(frozen=True, kw_only=True)
class Lock:
    """Resolved dependency sets and the bases they are for, by image name."""

    pins: Mapping[str, tuple[Pin, ...]] = field(default_factory=dict)
    index: Mapping[str, IndexOptions] = field(default_factory=dict)
    bases: Mapping[str, Base] = field(default_factory=dict)
    bundled: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By image, the names of pins that are brought as wheels; see `Requirement`. All that are
    pinned to a commit of a git repository are."""
    access: Mapping[str, tuple[Access, ...]] = field(default_factory=dict)
    """By image, how to log in to the repositories that its requirements name."""
    changed: tuple[str, ...] = ()
    """What was resolved anew, in words: for the story on stderr."""


class Stage(StrEnum):
    """Where in an image a layer belongs; earlier stages change less often."""

    SYSTEM = "1-system"
    DEPENDENCIES = "2-dependencies"
    WHEELS = "3-wheels"
    SOURCES = "4-sources"
    SETTINGS = "5-settings"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one plugin puts into an image, of kinds that every runtime understands.

    - `pins`: packages installed from indexes;
    - `wheels`: needs whose bytes are folders of wheel files, installed without dependencies;
    - `files`: needs laid under the task's working folder, by relative path;
    - `rooted`: needs that are files at absolute paths of the image, for whoever looks into it: a
      runtime without images has no use for them;
    - `env`: variables;
    - `system`: Debian packages (`assumed` ones are taken for granted by a runtime without them);
      `named` is where the recipe says them.

    `steps` are those that make the needs.
    """

    name: str
    stage: Stage
    pins: tuple[Pin, ...] = ()
    wheels: tuple[Need, ...] = ()
    files: tuple[tuple[str, Need], ...] = ()
    rooted: tuple[tuple[str, Need], ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    system: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    named: Mapping[str, KeyPath] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    index: IndexOptions = IndexOptions()


@dataclass(frozen=True, kw_only=True)
class ImagePlan:
    """How an image becomes real: steps, and the need by which a task depends on it.

    `files` and `env` are what the runtime leaves to each task: sources under the working folder.
    """

    steps: tuple[Step, ...]
    need: Need | None
    files: tuple[tuple[str, Need], ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    python: str | None = None
    """Where the Python is that runs functions, where that is not `python` in the PATH."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Aux:
    """A small file put beside a task's command; `keyed` stands for it in the key."""

    name: str
    content: bytes
    keyed: str | None
    """What of it enters the key; None for what is the same for every task of one coopery."""


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """What a task runs, before paths are known: items with placeholders for `inputs.NAME`,
    `outputs.NAME` and `aux.NAME`; all other placeholders are filled in. `shown` is for people.
    With `by_python` the first item stands for the image's Python, wherever that is.

    The rest is for tasks of which something else says more than what they run. `env` are variables,
    below the task's own. `mounts` are absolute paths at which channels are seen, outputs as folders
    that are there already. `limits` and `requests` are resources that the task may use at most, and
    that are kept free for it, below what the task says itself; what is only limited is kept free
    as well. `workdir` is the folder of its image in which it begins. With `scaling`, `size_step` is
    asked once its inputs are there: it is what the plugin wants to know then. With an exit code of
    `skip_codes` the command says that it had nothing to do: the task is skipped then.
    """

    command: tuple[str, ...]
    shown: str
    aux: tuple[Aux, ...] = ()
    by_python: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    limits: Resources | None = None
    requests: Resources | None = None
    workdir: str | None = None
    scaling: object | None = None
    skip_codes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """What a task runs, said without the project: keys of its table, and the files they name.

    `files` are by the paths (relative) under which the keys name them.
    """

    keys: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
