"""One resolution with uv: a dependency set in, exact packages with the hashes of all files out.

Two questions are asked of uv. Which versions does this platform take? And which files do those
versions have, and do other platforms take the same ones? The second is a universal resolution held
to the versions of the first; where other platforms make that impossible, only files are asked for.
"""

from __future__ import annotations

import contextlib
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

from coopery.dependencies import DependencySet, LocalDistribution, Requirement
from coopery.errors import CooperyError, MachineError, Place, Problem, RecipeError
from coopery.indexes import InstallerSettings, installer_environment
from coopery.installing import refusal_in
from coopery.remotes import Said, keychain
from coopery.repositories import Repository, line_for
from coopery.secrets import Secrets
from coopery.targets import Target
from coopery_lock.explain import explain
from coopery_lock.explain_git import explain_git, explain_urls
from coopery_lock.gits import Commits, accesses_of, asked_of, may_bring, override, packages_in
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
    asked_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


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
    settings: InstallerSettings
    platform: str
    target: Target | None
    gits: Sequence[tuple[Requirement, Repository]] = ()
    """The lines that name git repositories."""
    git_environment: Mapping[str, str] = field(default_factory=dict)
    """git's own variables: what indexes want to know is not for it."""

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
                [*command, *arguments],
                self.environment,
                self.root,
                min(left, limit or left),
                told=self.settings.confided,
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
        told = self.plain(story)
        return (
            explain_git(told, self.gits)
            or explain_urls(told, self.dependencies, self.brought_by)
            or self._explain_rest(told, story)
        )

    def _explain_rest(self, told: str, story: str) -> Exception:
        error = explain(told, self.dependencies, self.root, self.settings.index)
        return _without_wheel(error, story, self) or error

    def brought_by(self, line: str) -> str:
        """uv's answer to one line alone, with what asks for what; empty where it has none.

        It was asked about before, so that all it needs is in its cache.
        """
        output = self.folder / "alone.txt"
        output.unlink(missing_ok=True)
        asked = self.write("alone.in", [line_for(line, self.root)])
        try:
            finished = self.ask(*_TEXT, "--offline", "--output-file", str(output), asked)
        except MachineError:
            return ""  # no time is left, and there is an answer without it
        return output.read_text("utf-8") if finished.code == 0 else ""

    def run_git(self, command: Sequence[str], environment: Mapping[str, str]) -> Said:
        """Run git; see `coopery.remotes`. Raises MachineError."""
        left = max(0.01, self.ends - time.monotonic())
        program, *arguments = command
        try:
            done = self.processes.run(arguments, environment, self.root, left, program)
        except subprocess.TimeoutExpired:
            raise _late(self.dependencies, self.limit) from None
        return Said(code=done.code, stdout=done.answer, stderr=done.story)

    def plain(self, story: str) -> str:
        """uv's words without the names of our own files."""
        return story.replace(self.folder.as_uri() + "/", "").replace(f"{self.folder}/", "")

    def warnings(self, finished: Finished) -> tuple[str, ...]:
        """What uv warned of."""
        said = (line.strip() for line in self.plain(finished.story).splitlines())
        return tuple(s.removeprefix("warning: ") for s in said if s.startswith("warning:"))

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
    *,
    commits: Commits,
    secrets: Secrets,
    target: Target | None = None,
) -> Solution:
    """The packages of a set, sorted by name; `preferred` versions stay where they still fit, and
    refs of git repositories at the `commits` that are known.

    They are for `target`, or for this machine's platform. `limit` is in seconds. Raises RecipeError
    for what the requirements cannot have, MachineError for an index or a repository that does not
    answer.
    """
    _check_locals(dependencies)
    platform = target.kind if target else own_platform()
    if not dependencies.requirements and not any(x.requires for x in dependencies.locals):
        return Solution(packages=(), platforms=tuple(sorted({*COMMON, platform})))
    try:
        settings = installer_environment(dependencies.index, root=root, secrets=secrets)
    except MachineError as error:
        # It is a variable in the URL of an index that is not set, or a secret of one.
        places = (place for url, place in dependencies.index.places if "${" in url)
        raise error.located(next(places, Place())) from None
    arguments = settings.flags
    for item in dependencies.requirements:
        if item.bundled and " @ " not in item.line:
            arguments += ("--only-binary", name_of(item.line))  # its wheel is what is wanted
    gits = asked_of(dependencies, root)
    bringing = may_bring(dependencies)
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="coopery-lock-"))
        environ: Mapping[str, str] = os.environ
        if bringing:
            environ = stack.enter_context(keychain(accesses_of(dependencies), secrets))
        job = _Job(
            dependencies=dependencies,
            folder=Path(name),
            root=root,
            limit=limit,
            ends=time.monotonic() + limit,
            processes=processes,
            environment={**environ, **settings.variables},
            arguments=arguments,
            settings=settings,
            platform=platform,
            target=target,
            gits=gits,
            git_environment=environ,
        )
        asked = _write_asked(job)
        found: Mapping[str, Package] = {}
        choice = None
        if bringing:
            found, choice = _choose_commits(job, asked, commits, preferred)
        if choice is None or dependencies.locals:
            lines = [override(package, dependencies, root) for package in found.values()]
            held = ("--overrides", job.write("commits.in", lines)) if lines else ()
            told = _choose(job, (*held, *asked), preferred)
            # Of what comes from repositories, the first choice knows the extras too.
            choice = replace(choice, asked_by=told.asked_by) if choice else told
        chosen = choice
        seed = commits.seed(found.values())
        tables, platforms = _describe(job, asked, chosen, found, seed)
    packages = packages_of(tables, chosen.versions, dependencies, platform, found)
    return Solution(
        packages=packages,
        platforms=platforms,
        held=_held(dependencies, chosen),
        warnings=chosen.warnings,
        files=files_by_name(tables, [p for p in packages if p.name not in found]),
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
    wanted = [line_for(r.line, job.root) for r in dependencies.requirements if not r.constraint]
    for local in dependencies.locals:
        extras = f"[{','.join(sorted(local.extras))}]" if local.extras else ""
        wanted.append(f"{local.name}{extras} @ {write_stub(job.folder, local).as_uri()}")
    limits = [line_for(r.line, job.root) for r in dependencies.requirements if r.constraint]
    file = job.write("requirements.in", wanted)
    return (*(("--constraints", job.write("constraints.in", limits)) if limits else ()), file)


def _choose_commits(
    job: _Job, asked: tuple[str, ...], commits: Commits, preferred: tuple[Package, ...]
) -> tuple[Mapping[str, Package], _Chosen | None]:
    """What of a set comes from git repositories, whoever asks for it, by name; and where there is
    any, the choice that goes with it.
    """
    commits.find(job.gits, job.git_environment, job.run_git)
    output = job.folder / "pylock.commits.toml"
    if seed := commits.seed((), preferred):
        output.write_text(seed, "utf-8")
    there = ("--python-platform", job.target.uv) if job.target else ()
    form = ("--format=pylock.toml", "--no-universal", *there)
    question = (*form, "--output-file", str(output), *asked)
    finished = job.ask(*question)
    if finished.code != 0:
        raise job.explain(finished, *question)
    tables = _tables(str(output), job.dependencies)
    found = packages_in(tables, job.gits)
    if not found:
        return {}, None
    versions = {
        t["name"]: None if {"vcs", "archive", "directory"} & t.keys() else t.get("version")
        for t in tables
    }
    return found, _Chosen(versions=versions, warnings=job.warnings(finished))


def _choose(job: _Job, asked: tuple[str, ...], preferred: tuple[Package, ...]) -> _Chosen:
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
    return _Chosen(versions=versions, asked_by=asked_by, warnings=job.warnings(finished))


def _describe(
    job: _Job,
    asked: tuple[str, ...],
    chosen: _Chosen,
    gits: Mapping[str, Package],
    seed: str,
) -> tuple[list[Table], tuple[str, ...]]:
    """All files of the chosen versions, and the platforms for which these are the choice."""
    exact = [f"{n}=={v}" for n, v in chosen.versions.items() if v]
    pins = ("--constraints", job.write("pins.in", exact)) if exact else ()
    output = str(job.folder / "pylock.toml")
    form = ("--format=pylock.toml", "--universal", "--quiet", "--output-file", output)
    if gits:
        Path(output).write_text(seed, "utf-8")
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
    exact += [
        override(gits[n], job.dependencies, job.root) if n in gits else f"{n} @ {urls[n]}"
        for n, v in chosen.versions.items()
        if not v
    ]
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
