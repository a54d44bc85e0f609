"""The nouns of a recipe: frozen values, with the same names as in recipe files."""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import quote, urlsplit

from coopery.errors import KeyPath, Place, Problem
from coopery.marks import AtLeast, NotText, Text, named, rest, shorthand, unkeyed
from coopery.quantities import Duration, Quantity
from coopery.shapes import Name

HOST_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""X.Y of the interpreter that plans; an image's default."""

Scalar = str | int | float | bool
"""What a matrix axis holds and a parameter mostly is."""

F = TypeVar("F")

Amount = Annotated[float, Quantity]
"""A Kubernetes quantity: `0.5`, `500m`, `2Gi`; in cores or in bytes."""
Count = Annotated[int, AtLeast(0)]
"""A whole number, not negative."""
Seconds = Annotated[float, Duration]
"""A duration: a number of seconds, or `90s`, `10m`, `1h30m`."""


ValueFormat = Literal["json", "pickle"]
"""How a value is kept in a file: as JSON, which anything reads, or pickled, which Python reads."""


class ExitCode(StrEnum):
    """Whose exit code a run ends with."""

    RUN = "run"
    """Its own: 0 if all went well."""
    TASK = "task"
    """That of the command of the one task that was asked for."""


def check_python(text: str) -> str:
    """A Python version as images name it. Raises ValueError."""
    if not re.fullmatch(r"3\.\d{1,3}", text):
        raise ValueError("expected X.Y")
    return text


PythonVersion = Annotated[
    str,
    Text(
        check_python,
        pattern=r"^3\.\d{1,3}$",
        what="a Python version",
        mend=f'write it as text, such as "{HOST_PYTHON}"; the patch release is the machine\'s',
    ),
]
"""X.Y; which release of it is taken is the machine's business."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A named channel a task reads: a file or folder of the project, or another task's output.

    A plain string is short for `path`. `origin` (`from` in a recipe) is `TASK.OUTPUT`; `at`
    picks one matrix instance of it. `mount` fixes the absolute path at which the task sees it.
    A `path` that is to be `bind` is used where it is, anywhere on this machine: it is neither read
    for a key nor looked at afterwards, so only a task that is `always` run may have it.
    `load` gives a function the value in the file rather than its path; of several instances, a
    dictionary of them by their coordinates (`fold=0`).
    """

    path: Annotated[str | None, shorthand] = None
    origin: Annotated[str | None, named("from")] = None
    at: Mapping[str, Scalar] | None = None
    mount: str | None = None
    bind: bool = False
    load: ValueFormat | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """A named channel a task writes: one file or folder.

    A plain string is short for `path`, the destination in the project; without one the output
    stays in the store. A trailing `/` means a folder, made before the task starts. `name` is the
    base name the task sees. A `transient` output is dropped once all its readers have ended.
    One that is to be `bind` is written straight into the folder `path`, anywhere on this machine,
    which is made if it is missing: nothing of it is stored or delivered.
    One that `returns` is written from what the task's function returns, in that format.
    """

    path: Annotated[str | None, shorthand] = None
    name: str | None = None
    transient: bool = False
    mount: str | None = None
    bind: bool = False
    returns: ValueFormat | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a task asks of the machine: `cpu` in cores, `memory` and `shm` in bytes, `gpu` cards.

    Any other name is a resource of one's own (`license = 1`), of which `--capacity` says how much
    there is.
    """

    cpu: Amount | None = None
    memory: Amount | None = None
    gpu: Count = 0
    shm: Amount | None = None
    others: Annotated[Mapping[str, Amount], rest] = field(default_factory=dict)

    @property
    def amounts(self) -> dict[str, float]:
        """What is asked for, by name; what is not asked for is left out."""
        own = {"cpu": self.cpu, "memory": self.memory, "gpu": float(self.gpu), "shm": self.shm}
        return {name: amount for name, amount in {**own, **self.others}.items() if amount}


RetryCause = Annotated[int, AtLeast(1)] | Literal["timeout", "out-of-memory"]
"""An exit code, or an end that has no code of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """How often a task is tried again after a failure: a plain number is short for `count`.

    Before the first time `delay` seconds pass, before each other `factor` times as many as before
    the last, at most `longest`. `on` are the failures it is tried again after: exit codes,
    `timeout`, `out-of-memory`; by default any.
    """

    count: Annotated[Count, shorthand] = 0
    delay: Seconds | None = None
    factor: Annotated[float, AtLeast(1)] = 2.0
    longest: Seconds = 3600.0
    on: tuple[RetryCause, ...] = ()

    def wait(self, attempt: int) -> float:
        """Seconds to wait before trying again after the n-th attempt (from 1)."""
        if self.delay is None:
            return 0.0
        return float(min(self.longest, self.delay * self.factor ** min(attempt - 1, 64)))


def check_secret_name(text: str) -> str:
    """A secret's name. Raises ValueError, also for what looks like a secret itself."""
    from coopery.credentials import kind_of

    if found := kind_of(text):
        raise ValueError(f"it looks like {found} itself")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}", text):
        raise ValueError("expected letters, digits, `_`, `.` and `-`, at most 100")
    return text


SecretName = Annotated[
    str,
    Text(
        check_secret_name,
        pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,99}$",
        what="the name of a secret",
        mend="name the variable, file or entry of the keyring that holds it: "
        '{ secret = "API_TOKEN" }',
        quiet=True,
    ),
]
"""What a secret is called; what it is, no recipe says."""


@dataclass(frozen=True, kw_only=True)
class Secret:
    """Names a secret, `{ secret = "NAME" }`; its value is read at the moment of use.

    The name enters keys, the value never. Another `rotation` is another identity: it has what was
    made with the secret made again.
    """

    not_text: ClassVar[NotText] = NotText(
        slug="secret-as-text",
        message="a secret is written here as text",
        mend='name it: { secret = "NAME" }; and put its value into the variable NAME, a file or '
        "the keyring (docs/how-to/keep-secrets.md). What stood here is to be changed",
    )

    name: Annotated[SecretName, named("secret")]
    rotation: str | int | None = None


@dataclass(frozen=True, kw_only=True)
class TaskSecret(Secret):
    """A secret that a task is given: as a `file`, whose path it finds, or as a `variable`.

    The file's path is `{secrets.TOKEN}` in the command and in the variable COOPERY_SECRET_TOKEN;
    the variable is TOKEN itself, where TOKEN is the name that the task knows it by.
    """

    how: Annotated[Literal["file", "variable"], named("as")] = "file"


def check_index(url: str) -> str:
    """The URL of an index. Raises ValueError, also for one with a password, and never says it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or set(url) & set(" \t\n"):
        raise ValueError("expected https://HOST/simple")
    if "@" in parts.netloc or parts.query:
        raise ValueError("it holds credentials; write them as `username` and `password` beside it")
    return url


IndexUrl = Annotated[
    str,
    Text(
        check_index,
        pattern=r"^https?://[^/@\s?]+(/[^@\s?]*)?$",
        what="the URL of an index",
        mend='{ url = "https://HOST/simple", username = "me", password = { secret = "NAME" } }',
        quiet=True,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Index:
    """A package index, and by which names its credentials are known; text is short for `url`.

    It takes the place of the machine's own, or with `extra` is asked besides.
    """

    url: Annotated[IndexUrl, shorthand]
    username: str | Secret | None = None
    password: Secret | None = None
    extra: bool = False


@dataclass(frozen=True, kw_only=True)
class Faceted:
    """A noun that plugins extend with frozen values of their own."""

    facets: tuple[object, ...] = ()

    def facet(self, kind: type[F]) -> F | None:
        """The facet of this type, or None."""
        for facet in self.facets:
            if isinstance(facet, kind):
                return facet
        return None


@dataclass(frozen=True, kw_only=True)
class Image(Faceted):
    """What tasks run in. `python` is X.Y; None means that of the interpreter that plans."""

    name: Name = ""
    python: PythonVersion | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    description: Annotated[str | None, unkeyed] = None

    @property
    def is_prebuilt(self) -> bool:
        """Whether a facet says that it is used as it is: nothing is put upon it."""
        return any(getattr(facet, "is_prebuilt", False) for facet in self.facets)


@dataclass(frozen=True, kw_only=True)
class Task(Faceted):
    """One unit of work with named inputs and outputs; what it runs is a facet (a command, …)."""

    name: Name = ""
    image: str | None = None
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    matrix: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    pass_env: tuple[str, ...] = ()
    secrets: Mapping[str, TaskSecret] = field(default_factory=dict)
    always: bool = False
    description: str | None = None
    resources: Resources = field(default_factory=Resources)
    retries: Retries = field(default_factory=Retries)
    priority: int = 0
    timeout: Seconds | None = None


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """Recipe-wide defaults: each holds for every task that does not say otherwise, and `indexes`
    for every image.
    """

    image: str | None = None
    runtime: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    pass_env: tuple[str, ...] = ()
    secrets: Mapping[str, TaskSecret] = field(default_factory=dict)
    indexes: tuple[Index, ...] = ()
    resources: Resources | None = None
    retries: Retries | None = None
    priority: int | None = None
    timeout: Seconds | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe(Faceted):
    """A recipe file as read and checked. `root` is the folder its paths are relative to."""

    file: Path
    root: Path
    images: Mapping[str, Image]
    tasks: Mapping[str, Task]
    defaults: Defaults = field(default_factory=Defaults)
    destinations: Path | None = None
    """The folder that outputs' destinations are relative to, where that is not `root`."""
    confided: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Secrets that its file holds as text, by name: they go before those of providers."""
    locked: bool = True
    """Whether a lock file pins what it is made of."""
    taken_sets: tuple[str, ...] | None = field(default=None, repr=False)
    """What `--set` says, where its reader has taken that itself, so that it concerns every task."""
    warnings: tuple[Problem, ...] = field(default=(), compare=False, repr=False)
    """What its reader has to tell, which does not stop it."""
    locate: Callable[[KeyPath], Place] = field(
        default=lambda key: Place(key=key), compare=False, repr=False
    )
    exit_code: ExitCode = ExitCode.RUN
    """Whose exit code a run of it ends with where nobody says."""

    @property
    def lock_file(self) -> Path:
        """`recipe.lock` beside `recipe.toml`: the recipe's stem with `.lock`."""
        return self.file.with_suffix(".lock")


def secrets_in(value: Any, key: KeyPath = ()) -> Iterator[tuple[KeyPath, Secret]]:
    """Every secret that is named in a noun or its facets, with where it stands in it.

    A facet's key is taken to be its class's name, and what wraps a single value to be that value.
    """
    match value:
        case str() | int() | float() | None:
            return
        case Secret():
            yield key, value
        case Mapping():
            for name, inner in value.items():
                yield from secrets_in(inner, (*key, str(name)))
        case list() | tuple():
            for index, inner in enumerate(value):
                yield from secrets_in(inner, (*key, index))
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = dataclasses.fields(value)
            for item in fields:
                inner = getattr(value, item.name)
                if item.name == "facets":
                    for facet in inner:
                        yield from secrets_in(facet, (*key, type(facet).__name__.lower()))
                else:
                    yield from secrets_in(inner, key if len(fields) == 1 else (*key, item.name))


def coordinate(value: Scalar) -> str:
    """A matrix value as it stands in names and folders: percent-encoded, booleans as in TOML."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    encoded = quote(text, safe="").replace("~", "%7E")
    return {".": "%2E", "..": "%2E%2E"}.get(encoded, encoded)


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A task at one point of its matrix (`coords`, sorted by axis; empty without matrix)."""

    task: Task
    coords: tuple[tuple[str, Scalar], ...] = ()

    @functools.cached_property
    def name(self) -> str:
        """`fit` or `fit@depth=3,fold=0` (semantics 13)."""
        if not self.coords:
            return self.task.name
        return f"{self.task.name}@{','.join(f'{a}={coordinate(v)}' for a, v in self.coords)}"

    @property
    def folder(self) -> str:
        """Where this instance stands among all of its task: `depth=3/fold=0` (semantics 14)."""
        return "/".join(f"{axis}={coordinate(value)}" for axis, value in self.coords)


def iterate_matrix(
    matrix: Mapping[str, tuple[Scalar, ...]],
) -> Iterator[tuple[tuple[str, Scalar], ...]]:
    """Every point of a matrix, axes sorted, values in the order given."""
    import itertools

    axes = sorted(matrix)
    for values in itertools.product(*(matrix[axis] for axis in axes)):
        yield tuple(zip(axes, values, strict=True))


@dataclass(frozen=True)
class Project:
    """A Python source tree that goes into an image as a wheel.

    A plain string is short for `path`, which is relative to the recipe. `editable` means a wheel
    built from the tree as it is (it is not `pip install -e`). `extras` are those of its metadata.
    """

    path: Annotated[str, shorthand]
    mode: Literal["editable", "release"] = field(default="editable", kw_only=True)
    extras: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        # Recipes in Python hand over paths and lists as they come.
        object.__setattr__(self, "path", str(self.path))
        object.__setattr__(self, "extras", tuple(self.extras))


@dataclass(frozen=True)
class Git:
    """A Python package in a git repository, which goes into an image as a wheel.

    A plain string is short for `url`: of https, http, ssh or file, `git@HOST:PATH`, a path relative
    to the recipe, or `github:OWNER/NAME`. `ref` is a branch, a tag or a commit; by default the
    remote's HEAD, on GitHub `main`. `package` is the distribution's name where it is not called
    as the repository; `subdirectory` is where it stands there. `token`, and a `username` if the
    server wants a certain one, let in over http and https.
    """

    url: Annotated[str, shorthand]
    ref: str | None = field(default=None, kw_only=True)
    package: str | None = field(default=None, kw_only=True)
    extras: tuple[str, ...] = field(default=(), kw_only=True)
    subdirectory: str | None = field(default=None, kw_only=True)
    username: str | Secret | None = field(default=None, kw_only=True)
    token: Secret | None = field(default=None, kw_only=True)
