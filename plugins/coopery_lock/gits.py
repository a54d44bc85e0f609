"""Requirements on git repositories: which commits they are pinned to, and how uv is told.

A ref that was locked keeps its commit until the lock is upgraded, for whatever asks for it. uv
takes such commits from an earlier answer of its own form (pylock.toml), which is written for it;
so what other repositories' metadata asks for is held to them too. With what it then answers, the
further questions are asked about commits alone.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery.dependencies import DependencySet, Requirement
from coopery.errors import MachineError, Problem, RecipeError
from coopery.repositories import (
    Access,
    BadRepository,
    Repository,
    line_for,
    read_line_url,
    repository_of,
    without_credentials,
)
from coopery_lock.lines import name_of, normalise
from coopery_lock.lockfile import Entry, Package

if TYPE_CHECKING:
    from coopery.remotes import Run

_AT_A_TIME = 4
"""How many servers are asked at a time."""


def clean(dependencies: DependencySet) -> DependencySet:
    """The set with credentials taken out of the lines of projects' own metadata; those written as
    text are refused (RecipeError, `credentials-in-file`).
    """
    problems: list[Problem] = []
    locals_ = tuple(
        replace(local, requires=tuple(_cleaned(r, problems) for r in local.requires))
        for local in dependencies.locals
    )
    if problems:
        raise RecipeError(*problems)
    return replace(dependencies, locals=locals_)


def _cleaned(requirement: Requirement, problems: list[Problem]) -> Requirement:
    found = re.search(r"@\s*(git\+[^\s;]+)", requirement.line)
    if found is None:
        return requirement
    try:
        repository, userinfo, _ = read_line_url(found[1])
    except BadRepository as error:
        problems.append(
            Problem(slug=error.slug, message=error.reason, place=requirement.place, hint=error.hint)
        )
        return requirement
    name = requirement.line[: found.start()].rstrip()
    rest = requirement.line[found.end() :]
    access = Access(url=repository.url, userinfo=userinfo, place=requirement.place)
    line = f"{name} @ {repository.text}{rest}"
    return replace(requirement, line=line, access=access if userinfo else requirement.access)


def accesses_of(dependencies: DependencySet) -> tuple[Access, ...]:
    """How to log in to the repositories that a set names."""
    lines = _all_lines(dependencies)
    return tuple(dict.fromkeys(r.access for r in lines if r.access is not None))


def _all_lines(dependencies: DependencySet) -> tuple[Requirement, ...]:
    inner = (r for local in dependencies.locals for r in local.requires)
    return (*dependencies.requirements, *inner)


def asked_of(dependencies: DependencySet, root: Path) -> list[tuple[Requirement, Repository]]:
    """The lines that name repositories, their paths made absolute."""
    found = ((r, repository_of(r.line)) for r in _all_lines(dependencies) if " @ git+" in r.line)
    return [(r, repository.absolute(root)) for r, repository in found if repository]


def may_bring(dependencies: DependencySet) -> bool:
    """Whether something in a set may come from a repository: indexes bring nothing of the kind."""
    return any(re.search(r"@\s*(?:git\+|https?:|file:)", r.line) for r in _all_lines(dependencies))


@dataclass
class Commits:
    """The commits that refs lead to, the same for all sets that are resolved together."""

    root: Path
    known: dict[tuple[str, str | None], str] = field(default_factory=dict)
    names: dict[tuple[str, str | None], str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(
        self,
        asked: Iterable[tuple[Requirement, Repository]],
        environment: Mapping[str, str],
        run: Run,
    ) -> None:
        """Ask for those that are not known yet. Raises as `coopery.remotes.find_commit` does, the
        problems of all lines together.
        """
        from concurrent.futures import ThreadPoolExecutor

        from coopery.remotes import find_commit

        def look(item: tuple[Requirement, Repository]) -> str | RecipeError | MachineError | None:
            try:
                return find_commit(item[1], environment, run, item[0].place)
            except RecipeError as error:
                return error
            except MachineError as error:
                return error

        wrong: list[Problem] = []
        lacking: list[Problem] = []
        with self._lock:  # two sets that ask for one ref take one commit
            keyed = {(repository.url, repository.ref): (r, repository) for r, repository in asked}
            for key, (requirement, _) in keyed.items():
                self.names.setdefault(key, name_of(requirement.line))
            missing = {key: item for key, item in keyed.items() if key not in self.known}
            with ThreadPoolExecutor(_AT_A_TIME) as pool:
                answers = list(pool.map(look, missing.values()))
            for (key, (requirement, _)), answer in zip(missing.items(), answers, strict=True):
                match answer:
                    case str():
                        self.known[key] = answer
                    case RecipeError():
                        wrong += answer.problems
                    case MachineError():
                        lacking += answer.located(requirement.place).problems
        if wrong:
            raise RecipeError(*dict.fromkeys(wrong))
        if lacking:
            raise MachineError(*dict.fromkeys(lacking))

    def seed(self, found: Iterable[Package] = (), others: Iterable[Package] = ()) -> str:
        """What uv takes for an earlier answer of its own, so that it takes these commits, those of
        packages that were `found`, and where it can the versions of the `others`.
        """
        with self._lock:
            known = dict(self.known)
            names = dict(self.names)
        for package in found:
            repository = repository_of(package.url or "")
            assert repository is not None and repository.ref is not None
            key = (repository.absolute(self.root).url, package.ref)
            known[key], names[key] = repository.ref, package.name
        rows = [(url, ref, commit) for (url, ref), commit in known.items()]
        plain = [p for p in others if not p.url]
        text = 'lock-version = "1.0"\ncreated-by = "coopery"\n' if rows or plain else ""
        for url, ref, commit in sorted(rows, key=str):
            fields = {"type": "git", "url": url, "commit-id": commit}
            fields |= {"requested-revision": ref} if ref else {}
            told = ", ".join(f"{key} = {json.dumps(value)}" for key, value in fields.items())
            name = json.dumps(names.get((url, ref), "unnamed"))
            text += f'\n[[packages]]\nname = {name}\nversion = "0"\nvcs = {{ {told} }}\n'
        for package in plain:
            told = f"name = {json.dumps(package.name)}\nversion = {json.dumps(package.version)}"
            text += f"\n[[packages]]\n{told}\n"
        return text


def known_commits(entries: Sequence[Entry], first: Sequence[Entry], root: Path) -> Commits:
    """The commits that refs were locked at, in `first` before all others."""
    found = Commits(root)
    for entry in (*first, *entries):
        for package in entry.packages:
            repository = repository_of(package.url) if package.url else None
            if repository is None or repository.commit is None:
                continue
            key = (repository.absolute(root).url, package.ref)
            found.known.setdefault(key, repository.commit)
            found.names.setdefault(key, package.name)
    return found


def packages_in(
    tables: Iterable[Mapping[str, Any]], asked: Sequence[tuple[Requirement, Repository]]
) -> dict[str, Package]:
    """Those of the packages in uv's pylock.toml that come from repositories, by name.

    One whose line has a path relative to the recipe keeps it.
    """
    own = {}
    for requirement, repository in asked:
        given = repository_of(requirement.line)
        assert given is not None
        own[name_of(requirement.line), repository.url] = given.url
    found = {}
    for table in tables:
        vcs = table.get("vcs")
        if vcs is None:
            continue
        name = normalise(table["name"])
        url = own.get((name, vcs["url"]), without_credentials(vcs["url"]))
        repository = Repository(
            url=url, ref=vcs["commit-id"], subdirectory=vcs.get("subdirectory") or None
        )
        found[name] = Package(
            name=name,
            version=table.get("version", ""),
            url=repository.text,
            ref=vcs.get("requested-revision"),
        )
    return found


def override(package: Package, dependencies: DependencySet, root: Path) -> str:
    """The line that holds uv to a package's commit, with the extras that a set asks for itself."""
    lines = (r.line for r in _all_lines(dependencies) if name_of(r.line) == package.name)
    brackets = (re.match(r"[^\[@;<>=!~]+\[([^\]]*)\]", line) for line in lines)
    extras = sorted({e.strip() for found in brackets if found for e in found[1].split(",")})
    wanted = f"[{','.join(extras)}]" if extras else ""
    return f"{package.name}{wanted} @ {line_for(package.url or '', root)}"
