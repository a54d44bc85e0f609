"""What uv says when it finds no resolution, as problems that name each requirement's place."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from coopery.dependencies import DependencySet, Requirement
from coopery.errors import CooperyError, MachineError, Place, Problem, RecipeError
from coopery.installing import DENIED, asked, denial
from coopery_lock.lines import name_of, normalise

_URL = re.compile(r"https?://[^\s`'\"<>()]+")
_UNKNOWN = re.compile(r"(?:^|[^\w.-])([\w.-]+) was not found in (?:the|an|any) ")
_UNREACHABLE = re.compile(
    r"error sending request|Request failed|Failed to fetch|[Tt]imed out|timeout|dns error"
    r"|Connection (?:refused|reset)|Could not connect|\(5\d\d [A-Z]|status server error|offline"
)
_BUILD = re.compile(
    r"Failed to (?:download and )?build|Failed to prepare|[Bb]uild backend"
    r"|build_wheel|prepare_metadata"
)
_PYTHON = re.compile(r"Python\s?[<>=!~]|requested Python version")
_ABSENT = r"no versions? of {0}(?:\[[^\]]*\])?==|{0}(?:\[[^\]]*\])?==\S+ has no (?:usable )?wheels"
_PLATFORM = re.compile(r"no wheels with a matching (?:platform|Python|ABI)")
_CHAIN_END = re.compile(r"\n\s*\n?(?:hint|help):")


def explain(
    story: str, dependencies: DependencySet, root: Path | None = None, index: str = ""
) -> CooperyError:
    """The error that uv's `story` (stderr, without credentials) amounts to.

    `root` is the folder that uv's project configuration was looked for from; `index` is the one
    that was asked, for people.
    """
    if DENIED.search(story):
        return _denied(denial(story) or story, dependencies, root)
    if "No solution found" in story:
        return _unsolvable(story, dependencies, index)
    if _BUILD.search(story):
        return _unbuildable(story, dependencies)
    if _UNREACHABLE.search(story):
        what, place = asked(story, dependencies.index, root)
        message = f"{what} does not answer: {_reason(story)}"
        hint = "check the network and the index configuration (pip's, or uv's)"
        if direct := _direct(story, dependencies):
            message = f"{_shown(direct)} cannot be fetched: {_reason(story)}"
            hint = "check the URL and the network"
            place = direct.place
        return MachineError(
            Problem(slug="index-unreachable", message=message, place=place, hint=hint)
        )
    message = f"image {dependencies.image!r}: uv found no resolution:\n{_indent(_tail(story))}"
    hint = "the lines above are uv's own; `uv pip compile` with the same lines says more"
    return MachineError(Problem(slug="resolution-failed", message=message, hint=hint))


def _denied(story: str, dependencies: DependencySet, root: Path | None) -> MachineError:
    what, place = asked(story, dependencies.index, root)
    hint = "set them in netrc, in a keyring, in pip's configuration or UV_INDEX_NAME_PASSWORD"
    if direct := _direct(story, dependencies):
        what, place = _shown(direct), direct.place
        hint = "set them in netrc, or write ${VARIABLE} for them in the URL"
    message = f"{what} refuses the credentials it was given, or wants some"
    released = [_released(item) for item in dependencies.requirements if item.bundled]
    if released:
        message += f"; release mode asks it for {', '.join(released)}"
    return MachineError(Problem(slug="index-credentials", message=message, place=place, hint=hint))


def _direct(story: str, dependencies: DependencySet) -> Requirement | None:
    """The requirement whose own URL a story is about."""
    told = {_plain(url) for url in _URL.findall(story)}
    lines = (*dependencies.requirements, *(r for x in dependencies.locals for r in x.requires))
    return next((r for r in lines if " @ " in r.line and _plain(_url_of(r.line)) in told), None)


def _url_of(line: str) -> str:
    return line.partition(" @ ")[2].partition(" ;")[0].strip()


def _plain(url: str) -> str:
    """A URL without credentials and fragment."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def _shown(requirement: Requirement) -> str:
    return _plain(_url_of(requirement.line))


def _unsolvable(story: str, dependencies: DependencySet, index: str) -> RecipeError:
    body = story.partition("No solution found when resolving dependencies")[2]
    chain = _CHAIN_END.split(body, maxsplit=1)[0].lstrip(": \n")
    chain = re.sub(r"^\s*(?:cause:|╰─▶)\s*", "", chain).strip()
    involved = _involved(chain, dependencies)
    place = involved[0].place if involved else Place()
    asking = "".join(f"\n  {_at(item)}" for item in involved)
    text = f"{_indent(chain)}"
    unknown = [normalise(name) for name in _UNKNOWN.findall(chain)]
    for item in involved:
        absent = re.search(_ABSENT.format(re.escape(name_of(item.line))), chain)
        if item.bundled and (absent or name_of(item.line) in unknown):
            return _unpublished(item, f"{text}{asking}", index)
    if unknown:
        name = unknown[0]
        direct = next((i for i in involved if name_of(i.line) == name), None)
        message = f"no index has a package {name!r}:\n{text}{asking}"
        hint = "check its name, and the indexes that pip or uv are configured with"
        return RecipeError(
            Problem(slug="unknown-package", message=message, place=_or(direct, place), hint=hint)
        )
    names = {name_of(item.line) for item in involved}
    if _PYTHON.search(chain) and len(names) <= 1:
        message = f"Python {dependencies.python} does not suit these requirements:\n{text}{asking}"
        hint = f"give image {dependencies.image!r} another `python`"
        return RecipeError(Problem(slug="python-mismatch", message=message, place=place, hint=hint))
    alone = len(involved) == 1 and not involved[0].constraint
    what = "this cannot be had" if alone else "these requirements contradict each other"
    message = f"image {dependencies.image!r}: {what}:\n{text}{asking}"
    hint = "ask for a version that there is" if alone else "loosen or drop one of them"
    if alone and _PLATFORM.search(re.sub(r"\s+", " ", chain)):
        hint = "take a version with wheels for this platform, or one with its sources"
    return RecipeError(Problem(slug="dependency-conflict", message=message, place=place, hint=hint))


def _unpublished(item: Requirement, text: str, index: str) -> RecipeError:
    message = f"{_released(item)} is not on {index or 'any index'}:\n{text}"
    hint = 'publish it, or write mode = "editable", which builds it from its source tree'
    return RecipeError(
        Problem(slug="release-unpublished", message=message, place=item.place, hint=hint)
    )


def _released(item: Requirement) -> str:
    """The name and version of what release mode asks for."""
    return f"{name_of(item.line)} {item.line.partition('==')[2].strip()}"


def _or(item: Requirement | None, place: Place) -> Place:
    return item.place if item else place


def _at(item: Requirement) -> str:
    asked = f"{'constraint ' if item.constraint else ''}{item.line}"
    return f"{item.place}: {asked}{f' (asked by {item.origin})' if item.origin else ''}"


def _involved(text: str, dependencies: DependencySet) -> list[Requirement]:
    """The requirements whose package `text` speaks of, in the order in which it first does.

    Requirements of a local distribution count where that too is spoken of; the distribution
    itself stands with its own place.
    """
    spoken = [normalise(word.rstrip(".")) for word in re.findall(r"[A-Za-z0-9][\w.-]*", text)]
    first = {word: i for i, word in reversed(list(enumerate(spoken)))}
    asked = list(dependencies.requirements)
    for local in dependencies.locals:
        asked.append(
            Requirement(
                line=f"{local.name}=={local.version}", place=local.place, origin="the recipe"
            )
        )
        if normalise(local.name) in first:
            asked += [
                Requirement(line=r.line, place=r.place, constraint=r.constraint, origin=local.name)
                for r in local.requires
            ]
    found = [item for item in asked if name_of(item.line) in first]
    return sorted(found, key=lambda item: first[name_of(item.line)])


def _unbuildable(story: str, dependencies: DependencySet) -> RecipeError:
    match = re.search(r"Failed to (?:download and )?(?:build|prepare)[^`]*`([\w.-]+)", story)
    name = normalise(match.group(1)) if match else ""
    # uv tells through what a package came in that nobody asked for directly.
    reason = re.search(r"was included because `([\w.-]+)", story)
    names = (name, normalise(reason.group(1)) if reason else "")
    asked = [r for n in names for r in dependencies.requirements if name_of(r.line) == n]
    direct = asked[0] if asked else None
    message = f"the metadata of {name or 'a package'} could not be built:\n{_indent(_tail(story))}"
    hint = "--only-binary in a requirements file takes versions with wheels only"
    place = _or(direct, Place())
    return RecipeError(Problem(slug="build-failed", message=message, place=place, hint=hint))


def _reason(story: str) -> str:
    """The last cause in uv's chain of causes."""
    lines = [line.strip() for line in story.splitlines() if line.strip()]
    causes = [re.sub(r"^(?:cause|Caused by|error):\s*", "", line) for line in lines]
    causes = [line for line in causes if not line.startswith("hint")]
    return causes[-1] if causes else "no answer"


def _tail(story: str, lines: int = 30) -> str:
    kept = [line for line in story.strip().splitlines() if line.strip()]
    return "\n".join(kept[-lines:])


def _indent(text: str) -> str:
    return "\n".join(f"    {line.strip()}" for line in text.splitlines() if line.strip())
