"""What uv says of git repositories, as problems that name the line that asks for each."""

from __future__ import annotations

import re
from collections.abc import Sequence

from coopery.dependencies import Requirement
from coopery.errors import CooperyError, Place, Problem, RecipeError
from coopery.remotes import failure, reason, shown
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
_FILE_REFUSED = re.compile(r"transport 'file' not allowed")
_LOST = re.compile(r"failed to (?:fetch|(find)) [a-z, ]+ `([^`]+)`")
_GONE = re.compile(r"not our ref|couldn't find remote ref|unadvertised object|remote did not send")

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
    if failed := failure(story, repository.url, place):
        return type(failed)(
            *(Problem(slug=p.slug, message=p.message + via, place=p.place, hint=p.hint)
              for p in failed.problems)
        )  # fmt: skip
    if "Git operation failed" in text:
        return error("git-failed", f"git cannot read {where}: {reason(story)}", None)
    return None


def submodule_failure(story: str, where: str) -> tuple[str, str]:
    """The message and the hint about a submodule that cannot be had."""
    text = re.sub(r"\s+", " ", story)
    which = re.search(r"clone of '([^']+)' into submodule path '([^']+)'", text)
    named = f"the submodule {shown(which[1])}" if which else "a submodule"
    message = f"{named} of {where} cannot be fetched: {reason(story)}"
    hint = "see that it is there, and may be read with the credentials of its host"
    if _FILE_REFUSED.search(text):
        hint = "git refuses submodules that are files of this machine; if you trust them: git "
        hint += "config --global protocol.file.allow always"
    return message, hint


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


__all__ = ["explain_git", "submodule_failure"]
