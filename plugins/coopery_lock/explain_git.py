"""What uv says of git repositories, as problems that name the line that asks for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from coopery.dependencies import DependencySet, Requirement
from coopery.errors import CooperyError, Place, Problem, RecipeError
from coopery.git_faults import failure, reason, shown, submodule_failure
from coopery.repositories import Repository, repository_of
from coopery_lock.lines import name_of, normalise

_ABOUT = re.compile(r"`([\w.-]+)(?:\[[^\]`]*\])? @ (git\+[^`]+)`")
_NAME = re.compile(r"metadata name `([^`]+)` does not match given name `([^`]+)`")
_FOLDER = re.compile(r"has no subdirectory `([^`]+)`")
_NO_PROJECT = re.compile(r"does not appear to be a Python project|neither `pyproject\.toml` nor")
_SUBMODULE = re.compile(
    r"[Uu]nable to checkout '|clone of '([^']+)' into submodule path '([^']+)' failed"
    r"|submodule path|git[^\n]* submodule update"
)
_LOST = re.compile(r"failed to (?:fetch|(find)) [a-z, ]+ `([^`]+)`")
_GONE = re.compile(r"not our ref|couldn't find remote ref|unadvertised object|remote did not send")
_HALF = re.compile(r"Could not reset index file|unable to read (?:sha1 file|tree)")

Asked = Sequence[tuple[Requirement, Repository]]


def explain_git(story: str, asked: Asked) -> CooperyError | None:
    """The error that uv's `story` amounts to where it is about a git repository; else None.

    `asked` are the lines that name repositories.
    """
    text = re.sub(r"\s+", " ", story)
    about = _ABOUT.search(text)
    if about is None:
        return None
    name, url = normalise(about[1]), about[2]
    place, via = _asker(name, text, asked)
    repository = next((repo for r, repo in asked if name_of(r.line) == name), None)
    repository = repository or repository_of(url.replace("****@", ""))
    if repository is None:
        return None
    where = shown(repository.url)

    def error(slug: str, message: str, hint: str | None) -> RecipeError:
        return RecipeError(Problem(slug=slug, message=message + via, place=place, hint=hint))

    if found := _NAME.search(text):
        real = normalise(found[1])
        message = f"the package in {where} is called {real!r}, not {normalise(found[2])!r}"
        return error("git-package", message, f"write package = {real!r}".replace("'", '"')
                     + f", or {real} @ git+… in a requirement")  # fmt: skip
    if found := _FOLDER.search(text):
        hint = "check `subdirectory`, which is a path from the top of the repository"
        return error("git-subdirectory", f"{where} has no folder {found[1]!r}{_at(url)}", hint)
    if _NO_PROJECT.search(text):
        inside = repository.subdirectory
        what = f"the folder {inside!r} of {where}" if inside else where
        hint = "a package has a pyproject.toml or setup.py; `subdirectory` says in which folder"
        return error("not-a-project", f"{what} holds no Python project{_at(url)}", hint)
    if "Git operation failed" not in text and "git fetch" not in text and " git" not in text:
        return None
    if _SUBMODULE.search(text):
        return error("git-submodule", *submodule_failure(story, where))
    if (lost := _LOST.search(text)) and (lost[1] or _GONE.search(text)):
        hint = "take what is there now: coopery lock --upgrade; or check `ref`"
        return error("git-ref", f"{where} has no branch, tag or commit {lost[2]!r}", hint)
    if _HALF.search(text):
        message = f"uv's cache holds only a part of {where}: somebody killed it meanwhile"
        return error("git-failed", message, "clear it: uv cache clean")
    if problem := failure(story, repository.url, place):
        return type(problem)(*(replace(p, message=p.message + via) for p in problem.problems))
    if "Git operation failed" in text:
        return error("git-failed", f"git cannot read {where}: {reason(story)}", None)
    return None


def explain_urls(
    story: str, dependencies: DependencySet, brought_by: Callable[[str], str]
) -> RecipeError | None:
    """The error where two URLs are wanted for one package, else None: who asks for which.

    `brought_by` is what uv makes of one line alone, as annotated lines.
    """
    found = re.search(r"conflicting URLs for package `([^`]+)`[^:]*:((?:\s*-\s*\S+)+)", story)
    if found is None:
        return None
    name = normalise(found[1])
    lines = []
    first: Place | None = None
    for requirement in _roots(dependencies):
        for chain in _chains(requirement, name, brought_by):
            first = first or requirement.place
            lines.append(f"\n  {requirement.place}: {chain}")
    urls = "".join(f"\n    {url}" for url in re.findall(r"-\s*(\S+)", found[2]))
    message = f"image {dependencies.image!r}: these requirements contradict each other: "
    message += f"{name} is wanted from different places:{urls}{''.join(lines)}"
    hint = "have all of them ask for one ref of one repository, or drop one"
    slug = "dependency-conflict"
    return RecipeError(Problem(slug=slug, message=message, place=first or Place(), hint=hint))


def _roots(dependencies: DependencySet) -> Iterator[Requirement]:
    """What a set asks for directly, and what its local distributions are and ask for."""
    yield from (r for r in dependencies.requirements if not r.constraint)
    for local in dependencies.locals:
        yield Requirement(line=local.name, place=local.place, origin="the recipe")
        yield from local.requires


def _chains(requirement: Requirement, name: str, brought_by: Callable[[str], str]) -> Iterator[str]:
    """How a line leads to a package: itself, or the packages on the way and the URL at the end."""
    asker = f" (asked by {requirement.origin})" if requirement.origin else ""
    if name_of(requirement.line) == name:
        yield f"{requirement.line}{asker}"
        return
    if " @ " not in requirement.line:
        return  # what is on an index cannot ask for a URL
    via: dict[str, list[str]] = {}
    urls: dict[str, str] = {}
    for line in brought_by(requirement.line).splitlines():
        wanted, _, origins = line.partition("# via ")
        via[name_of(wanted)] = [normalise(origin.strip()) for origin in origins.split(",")]
        urls[name_of(wanted)] = wanted.strip()
    if name not in urls:
        return
    way = [urls[name]]
    step = name
    seen = {name}
    while (step := next((v for v in via.get(step, ()) if v in via and v not in seen), "")) != "":
        seen.add(step)
        way.append(requirement.line if step == name_of(requirement.line) else step)
    yield " -> ".join(reversed(way)) + asker


def _asker(name: str, text: str, asked: Asked) -> tuple[Place, str]:
    """Where a package is asked for, and by what, where that is another package."""
    for requirement, _ in asked:
        if name_of(requirement.line) == name:
            told = f" (asked by {requirement.origin})" if requirement.origin else ""
            return requirement.place, told
    chain = re.search(r"was included because (.+?)(?:$| hint:)", text)
    told = f" ({chain[0].strip()})" if chain else ""
    first = [r for r, _ in asked if chain and f"`{name_of(r.line)}`" in chain[0]]
    return (first[0].place if first else asked[0][0].place if asked else Place()), told


def _at(url: str) -> str:
    ref = re.search(r"[^/]@([^@#/][^@#]*)(?:#|$)", url.partition("://")[2].partition("/")[2])
    return f" at {ref[1]}" if ref else ""


__all__ = ["explain_git", "explain_urls"]
