"""One resolution with uv: a dependency set in, exact packages with the hashes of all files out.

Two questions are asked of uv. Which versions does this platform take? And which files do those
versions have, and do other platforms take the same ones? The second is a universal resolution held
to the versions of the first; where other platforms make that impossible, only files are asked for.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from coopery.dependencies import DependencySet, LocalDistribution
from coopery.errors import CooperyError, MachineError, Place, Problem, RecipeError
from coopery.indexes import index_of, installer_environment
from coopery.installing import refusal_in
from coopery.targets import Target
from coopery_lock.explain import explain
from coopery_lock.lines import name_of, normalise
from coopery_lock.lockfile import Package
from coopery_lock.pins import files_by_name, packages_of, urls_of
from coopery_lock.platforms import COMMON, Table, own_platform, platforms_of
from coopery_lock.processes import Finished, Processes
from coopery_lock.stubs import write_stub

_CHOSEN = re.compile(r"(?P<name>[\w.-]+)(?:\[.*?\])?(?:==(?P<version>[^\s;]+)|\s+@\s+\S+)")
_NO_WHEEL = re.compile(r"\b(?P<name>[\w.-]+)==(?P<version>\S+) has no (?:usable )?wheels")
_THERE = re.compile(r"Wheels are available for .* on the following platforms?: (.*)")
# The user's configuration of `uv pip` may say otherwise; this is how the answers are read.
_TEXT = (
    "--format=requirements.txt", "--annotate", "--annotation-style=line", "--no-universal",
    "--no-generate-hashes", "--strip-extras", "--strip-markers", "--no-emit-index-url",
    "--no-emit-find-links", "--no-emit-build-options", "--no-emit-index-annotation",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What a resolution found.

    `held` are the local distributions, as `NAME VERSION`, whose version others depend on.
    """

    packages: tuple[Package, ...]
    platforms: tuple[str, ...]
    held: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By package, the names of the files that it may be installed from; none where it has none."""
    asked_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By package, those that ask for it."""


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """What the platform takes: versions (None for URLs), and which packages ask for each."""

    versions: Mapping[str, str | None]
    asked_by: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A dependency set, and how uv is asked about it; `ends` is a time of the monotonic clock."""

    dependencies: DependencySet
    folder: Path
    root: Path
    limit: float
    ends: float
    processes: Processes
    environment: Mapping[str, str]
    arguments: tuple[str, ...]
    platform: str
    target: Target | None

    def ask(self, *arguments: str, limit: float | None = None) -> Finished:
        """Run `uv pip compile` with these arguments. Raises MachineError, or TimeoutExpired for
        a `limit` of its own.
        """
        version = _python(self.dependencies)
        command = ["pip", "compile", "--no-header", "--no-progress"]
        command += ["--color", "never", "--python-version", version, *self.arguments]
        if self.dependencies.python == ".".join(map(str, sys.version_info[:2])):
            command += ["--python", sys.executable]
        left = max(0.01, self.ends - time.monotonic())
        try:
            return self.processes.run(
                [*command, *arguments], self.environment, self.root, min(left, limit or left)
            )
        except subprocess.TimeoutExpired:
            if limit and limit < left:
                raise
            raise _late(self.dependencies, self.limit) from None

    def explain(self, finished: Finished, *arguments: str) -> Exception:
        """The error that a failed answer to these arguments amounts to."""

        def again(environment: Mapping[str, str]) -> str:
            try:
                return replace(self, environment=environment).ask(*arguments).story
            except MachineError:
                return ""  # no time is left, and the first answer is one

        story = refusal_in(finished.story, self.environment, again) or finished.story
        index = index_of(self.environment)
        told = explain(self.plain(story), self.dependencies, self.root, index)
        return _without_wheel(told, story, self) or told

    def plain(self, story: str) -> str:
        """uv's words without the names of our own files."""
        return story.replace(self.folder.as_uri() + "/", "").replace(f"{self.folder}/", "")

    def write(self, name: str, lines: Sequence[str]) -> str:
        """A file in the job's folder with these lines, sorted; its path."""
        file = self.folder / name
        file.write_text("".join(f"{line}\n" for line in sorted(lines)), "utf-8")
        return str(file)


def solve(
    dependencies: DependencySet,
    preferred: tuple[Package, ...],
    root: Path,
    limit: float,
    processes: Processes,
    target: Target | None = None,
) -> Solution:
    """The packages of a set, sorted by name; `preferred` versions stay where they still fit.

    They are for `target`, or for this machine's platform. `limit` is in seconds. Raises RecipeError
    for what the requirements cannot have, MachineError for an index that does not answer.
    """
    _check_locals(dependencies)
    platform = target.kind if target else own_platform()
    if not dependencies.requirements and not any(x.requires for x in dependencies.locals):
        return Solution(packages=(), platforms=tuple(sorted({*COMMON, platform})))
    try:
        variables, arguments = installer_environment(dependencies.index, root=root)
    except MachineError as error:
        # It is a variable in the URL of an index that is not set.
        places = (place for url, place in dependencies.index.places if "${" in url)
        raise error.located(next(places, Place())) from None
    for item in dependencies.requirements:
        if item.bundled:
            arguments += ("--only-binary", name_of(item.line))  # its wheel is what is wanted
    with tempfile.TemporaryDirectory(prefix="coopery-lock-") as name:
        job = _Job(
            dependencies=dependencies,
            folder=Path(name),
            root=root,
            limit=limit,
            ends=time.monotonic() + limit,
            processes=processes,
            environment={**os.environ, **variables},
            arguments=arguments,
            platform=platform,
            target=target,
        )
        asked = _write_asked(job)
        chosen, warnings = _choose(job, asked, preferred)
        tables, platforms = _describe(job, asked, chosen)
    packages = packages_of(tables, chosen.versions, dependencies, platform)
    return Solution(
        packages=packages,
        platforms=platforms,
        held=_held(dependencies, chosen),
        warnings=warnings,
        files=files_by_name(tables, packages),
        asked_by=chosen.asked_by,
    )


def _check_locals(dependencies: DependencySet) -> None:
    seen: dict[str, str] = {}
    for local in dependencies.locals:
        other = seen.setdefault(normalise(local.name), str(local.place))
        if other != str(local.place):
            message = f"{local.name} is brought twice, also at {other}"
            hint = "leave one of them out"
            raise RecipeError(
                Problem(slug="duplicate-local", message=message, place=local.place, hint=hint)
            )


def _python(dependencies: DependencySet) -> str:
    """X.Y, which uv takes for X.Y.0, so that the lock holds for every patch release; or the least
    patch release that the local distributions allow.
    """
    asked = [local.requires_python or "" for local in dependencies.locals]
    patches = re.findall(rf"\b{re.escape(dependencies.python)}\.(\d+)", " ".join(asked))
    if not patches:
        return dependencies.python
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        specifier = SpecifierSet(",".join(filter(None, asked)))
    except InvalidSpecifier:
        return dependencies.python  # The backend refuses it with a better message than ours.
    candidates = sorted({0, *(int(patch) + more for patch in patches for more in (0, 1))})
    allowed = (f"{dependencies.python}.{patch}" for patch in candidates)
    return next((v for v in allowed if specifier.contains(v)), dependencies.python)


def _write_asked(job: _Job) -> tuple[str, ...]:
    """Arguments that name requirements and constraints: what a user wrote goes into files."""
    dependencies = job.dependencies
    wanted = [r.line for r in dependencies.requirements if not r.constraint]
    for local in dependencies.locals:
        extras = f"[{','.join(sorted(local.extras))}]" if local.extras else ""
        wanted.append(f"{local.name}{extras} @ {write_stub(job.folder, local).as_uri()}")
    limits = [r.line for r in dependencies.requirements if r.constraint]
    file = job.write("requirements.in", wanted)
    return (*(("--constraints", job.write("constraints.in", limits)) if limits else ()), file)


def _choose(
    job: _Job, asked: tuple[str, ...], preferred: tuple[Package, ...]
) -> tuple[_Chosen, tuple[str, ...]]:
    # uv keeps the versions it finds in an existing output file.
    output = job.write("chosen.txt", [f"{p.name}=={p.version}" for p in preferred if not p.url])
    # Markers and the tags of wheels are the target's; nothing of it can be run here.
    there = ("--python-platform", job.target.uv) if job.target else ()
    question = (*_TEXT, *there, "--output-file", output, *asked)
    finished = job.ask(*question)
    if finished.code != 0:
        raise job.explain(finished, *question)
    own = {normalise(local.name) for local in job.dependencies.locals}
    versions: dict[str, str | None] = {}
    asked_by: dict[str, tuple[str, ...]] = {}
    for line in Path(output).read_text("utf-8").splitlines():
        if match := _CHOSEN.match(line):
            name = normalise(match["name"])
            origins = line.partition("# via ")[2].split(", ")
            asked_by[name] = tuple(normalise(origin.strip()) for origin in origins)
            if name not in own:
                versions[name] = match["version"]
    said = (line.strip() for line in job.plain(finished.story).splitlines())
    warnings = tuple(line.removeprefix("warning: ") for line in said if line.startswith("warning:"))
    return _Chosen(versions=versions, asked_by=asked_by), warnings


def _describe(
    job: _Job, asked: tuple[str, ...], chosen: _Chosen
) -> tuple[list[Table], tuple[str, ...]]:
    """All files of the chosen versions, and the platforms for which these are the choice."""
    exact = [f"{n}=={v}" for n, v in chosen.versions.items() if v]
    pins = ("--constraints", job.write("pins.in", exact)) if exact else ()
    output = str(job.folder / "pylock.toml")
    form = ("--format=pylock.toml", "--universal", "--quiet", "--output-file", output)
    try:
        finished = job.ask(*form, *pins, *asked, limit=job.limit / 2)
    except subprocess.TimeoutExpired:
        finished = Finished(code=1, story="")
    if finished.code == 0:
        tables = _tables(output, job.dependencies)
        if chosen.versions.keys() <= {table["name"] for table in tables}:
            found = platforms_of(tables, chosen.versions, job.dependencies.python, job.platform)
            return tables, found
    # What other platforms would need contradicts itself or cannot be had: the lock is this one's.
    urls = urls_of(job.dependencies)
    exact += [f"{n} @ {urls[n]}" for n, v in chosen.versions.items() if not v]
    Path(output).unlink(missing_ok=True)
    question = (*form, "--no-deps", job.write("exact.in", exact))
    finished = job.ask(*question)
    if finished.code != 0:
        raise job.explain(finished, *question)
    return _tables(output, job.dependencies), (job.platform,)


def _tables(file: str, dependencies: DependencySet) -> list[Table]:
    """The packages of a pylock.toml by normalised names, without what is brought locally."""
    own = {normalise(local.name) for local in dependencies.locals}
    found = tomllib.loads(Path(file).read_text("utf-8")).get("packages", ())
    tables = [{**table, "name": normalise(table["name"])} for table in found]
    return [table for table in tables if table["name"] not in own]


def _without_wheel(told: CooperyError, story: str, job: _Job) -> RecipeError | None:
    """What uv could not take since it has no wheel for the base: nothing else is wrong with it."""
    found = _NO_WHEEL.search(story)
    if job.target is None or found is None or told.problems[0].slug != "dependency-conflict":
        return None
    name, version = normalise(found["name"]), found["version"]
    where = f"{job.target.uv}, Python {job.dependencies.python}"
    message = (
        f"{name} {version} has no wheel for the platform of image {job.dependencies.image!r} "
        f"({where})"
    )
    if there := _THERE.search(story):
        message += f": there are some for {there[1].strip()}"
    hint = mend_of(name)
    place = told.problems[0].place
    return RecipeError(Problem(slug="wheel-unavailable", message=message, place=place, hint=hint))


def mend_of(name: str) -> str:
    """What to do about a package without a wheel for the base."""
    return (
        f"ask for a version of {name} with such a wheel, choose another `base` or `python`, or "
        "build a wheel of it and name that file in `wheels`"
    )


def _late(dependencies: DependencySet, limit: float) -> MachineError:
    message = f"image {dependencies.image!r}: no resolution within {limit:g} s"
    hint = "--resolve-timeout allows more; an index may be slow, or the ranges too wide"
    asked = [r.place for r in dependencies.requirements if not r.constraint]
    place = next(iter([*asked, *(x.place for x in dependencies.locals)]), Place())
    return MachineError(Problem(slug="resolution-timeout", message=message, place=place, hint=hint))


def _held(dependencies: DependencySet, chosen: _Chosen) -> tuple[str, ...]:
    """The local distributions whose version something else may depend on."""
    held = []
    for local in dependencies.locals:
        name = normalise(local.name)
        asked = any(origin in chosen.versions for origin in chosen.asked_by.get(name, ()))
        if asked or any(_limits(line, name) for line in _lines_besides(dependencies, local)):
            held.append(f"{local.name} {local.version}")
    return tuple(sorted(held))


def _lines_besides(dependencies: DependencySet, local: LocalDistribution) -> list[str]:
    others = (other for other in dependencies.locals if other is not local)
    return [r.line for r in (*dependencies.requirements, *(r for o in others for r in o.requires))]


def _limits(line: str, name: str) -> bool:
    return name_of(line) == name and bool(re.search(r"[<>=!~]", line.partition(";")[0]))
