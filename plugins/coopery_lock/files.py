"""Requirements files: every line form of pip's is honoured, or refused by name with its place."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from coopery.dependencies import Contribution, IndexOptions, Requirement
from coopery.errors import Place, Problem, nearest
from coopery.lengths import misfit
from coopery_lock.lines import Refusals, check_credentials, check_hash, read_requirement

_OPTIONS = {
    "-r": "--requirement",
    "-c": "--constraint",
    "-e": "--editable",
    "-i": "--index-url",
    "--pypi-url": "--index-url",
    "-f": "--find-links",
    "-C": "--config-settings",
    "--config-setting": "--config-settings",
}
_VALUED = {
    "--requirement",
    "--constraint",
    "--index-url",
    "--extra-index-url",
    "--find-links",
    "--no-binary",
    "--only-binary",
}
_BARE = {"--no-index", "--pre"}
_REFUSED = {
    "--editable": 'list the folder under `projects`: { path = …, mode = "editable" }',
    "--prefer-binary": "name the packages: --only-binary NAME",
    "--trusted-host": "trust belongs to the machine: set it in pip.conf or UV_INSECURE_HOST",
    "--use-feature": "coopery resolves with uv, which has no such features; take the line out",
    "--require-hashes": "recipe.lock holds every package's hashes, and installs check them; "
    "take the line out",
    "--no-require-hashes": "installs check hashes in any case; take the line out",
    "--all-releases": "--pre allows pre-releases of all packages; or name one: NAME>=1.0rc1",
    "--only-final": "pre-releases are taken only where a line asks for one; take the line out",
    "--config-settings": "build a wheel yourself and list it under `wheels`",
    "--global-option": "build a wheel yourself and list it under `wheels`",
    "--build-constraint": "build a wheel yourself and list it under `wheels`",
    "--uploaded-prior-to": "set exclude-newer in uv.toml, or UV_EXCLUDE_NEWER",
    "--process-dependency-links": "pip itself has dropped it; take the line out",
    "--always-unzip": "pip itself has dropped it; take the line out",
    "-Z": "pip itself has dropped it; take the line out",
}


@dataclass
class Reading:
    """What has been read so far of an image's requirements files."""

    root: Path
    problems: list[Problem] = field(default_factory=list)
    requirements: list[Requirement] = field(default_factory=list)
    index: IndexOptions = field(default_factory=IndexOptions)
    done: set[tuple[Path, bool]] = field(default_factory=set)

    @property
    def contribution(self) -> Contribution:
        """All requirements and options."""
        return Contribution(requirements=tuple(self.requirements), index=self.index)

    def show(self, file: Path) -> str:
        """A file as the user writes it: relative to the recipe where it lies beneath."""
        return str(file.relative_to(self.root)) if file.is_relative_to(self.root) else str(file)


def read_file(
    reading: Reading, given: str, base: Path, place: Place, above: tuple[Path, ...] = (),
    constraint: bool = False,
) -> None:  # fmt: skip
    """Read the file `given` (relative to `base`), named at `place`, into `reading`."""
    refuse = Refusals(place=place, problems=reading.problems)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", given):
        hint = "download it and name the file"
        refuse("unsupported-option", f"{given!r}: a requirements file from a URL", hint)
        return
    file = Path(os.path.normpath(base / given))
    if long := misfit(file):
        refuse("name-too-long", long, "shorten it")
        return
    if file in above:
        chain = " -> ".join(reading.show(f) for f in (*above[above.index(file) :], file))
        hint = "take one of these -r or -c lines out"
        refuse("requirements-cycle", f"requirements files name each other: {chain}", hint)
        return
    if (file, constraint) in reading.done:
        return
    reading.done.add((file, constraint))
    try:
        text = _decoded(file.read_bytes())
    except UnicodeDecodeError as error:
        message = f"{given} is not {error.encoding} (byte {error.start})"
        hint = "save it as UTF-8, or name its encoding: # -*- coding: latin-1 -*-"
        refuse("unreadable-file", message, hint)
        return
    except LookupError as error:
        refuse("unreadable-file", f"{given}: {error}", "save it as UTF-8")
        return
    except (FileNotFoundError, NotADirectoryError):
        siblings = (f.name for f in file.parent.iterdir()) if file.parent.is_dir() else ()
        near = nearest(file.name, siblings) or f"there are no files in {file.parent}"
        refuse("missing-file", f"there is no file {given!r} (looked for {file})", near)
        return
    except OSError as error:
        hint = "name a file, whose permissions let you read it"
        refuse("unreadable-file", f"{given!r} cannot be read: {error.strerror}", hint)
        return
    for number, line in logical_lines(text):
        spot = Refusals(
            place=Place(file=reading.show(file), line=number), problems=reading.problems
        )
        _read_line(reading, line, file, spot, (*above, file), constraint)


def _decoded(content: bytes) -> str:
    """The text, in the encoding that a comment in its first two lines names (PEP 263), or UTF-8.

    Raises UnicodeDecodeError, and LookupError for an encoding that there is not.
    """
    if not content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        for line in content.split(b"\n")[:2]:
            named = re.match(rb"\s*#.*coding[:=]\s*([-\w.]+)", line)
            if named:
                return content.decode(named[1].decode("ascii"))
    elif not content.startswith(b"\xef"):
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with continuations joined and comments removed, with the number of the first."""
    parts: list[str] = []
    start = 0
    # Only line ends that pip knows: str.splitlines would cut at form feeds and others too.
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        start = start if parts else number
        comment = re.match(r"\s*#", raw)
        if raw.endswith("\\") and not comment:
            parts.append(raw[:-1])
            continue
        # A comment ends a continued line, as in pip.
        line = re.sub(r"(^|\s+)#.*$", "", "".join([*parts, " " + raw if comment else raw])).strip()
        parts = []
        if line:
            yield start, line
    rest = re.sub(r"(^|\s+)#.*$", "", "".join(parts)).strip()
    if rest:
        yield start, rest


def _read_line(
    reading: Reading,
    line: str,
    file: Path,
    spot: Refusals,
    above: tuple[Path, ...],
    constraint: bool,
) -> None:
    try:
        tokens = line.split()
        first = next((i for i, token in enumerate(tokens) if token.startswith("-")), len(tokens))
        wanted = " ".join(tokens[:first])
        tail = line.split(maxsplit=first)[first] if first < len(tokens) else ""
        options = list(_split_options(shlex.split(tail)))
    except ValueError as error:
        hint = "close the quotation mark, or take it out"
        spot("invalid-requirement", f"{line!r} cannot be read: {error}", hint)
        return
    if wanted:
        _read_wanted(reading, _expand(wanted, spot), options, spot, constraint)
        return
    if not options:
        spot("invalid-requirement", f"{line!r} cannot be read", "write NAME>=VERSION")
    for name, value in options:
        _read_option(reading, name, value, file, spot, above, constraint)


def _split_options(tokens: list[str]) -> Iterator[tuple[str, str | None]]:
    """(long name, value) of each option, in all the ways of writing one."""
    waiting = list(tokens)
    while waiting:
        token = waiting.pop(0)
        name, equals, value = token.partition("=")
        if token.startswith("--"):
            name = _OPTIONS.get(name, name)
        elif token.startswith("-") and token[:2] in _OPTIONS:
            name, value, equals = _OPTIONS[token[:2]], token[2:].removeprefix("="), token[2:]
        if not equals and (name in _VALUED or name in _REFUSED or name == "--hash"):
            value = waiting.pop(0) if waiting and not waiting[0].startswith("--") else ""
            equals = value
        if name == "--editable":
            # `NAME @ URL` is one value.
            while waiting and not waiting[0].startswith("-"):
                value = f"{value} {waiting.pop(0)}"
        yield name, value if equals else None


def _read_wanted(
    reading: Reading,
    text: str,
    options: list[tuple[str, str | None]],
    spot: Refusals,
    constraint: bool,
) -> None:
    before = len(reading.problems)
    hashes = []
    for name, value in options:
        if name == "--hash":
            digest = check_hash(value or "", spot)
            hashes += [digest] if digest else []
        elif name in _REFUSED:
            spot("unsupported-option", f"{name} beside {text!r} is not supported", _REFUSED[name])
        else:
            known = {*_VALUED, *_BARE}
            hint = "give it a line of its own" if name in known else nearest(name, ["--hash"])
            spot("unknown-option", f"{name!r} cannot stand beside a requirement", hint)
    if len(reading.problems) == before:
        found = read_requirement(text, spot, hashes=tuple(hashes), constraint=constraint)
        reading.requirements += [found] if found else []


def _read_option(
    reading: Reading, name: str, value: str | None, file: Path, spot: Refusals,
    above: tuple[Path, ...], constraint: bool,
) -> None:  # fmt: skip
    if name in _REFUSED:
        hint = _REFUSED[name]
        if name == "--editable" and re.search(r"(?:^|@\s*)git(?:\+|:)", value or ""):
            hint = f"leave {name} out: a package from a repository is built into a wheel"
        spot("unsupported-option", f"{name} is not supported", hint)
        return
    if name not in _VALUED | _BARE:
        known = {*_VALUED, *_BARE, *_REFUSED, *_OPTIONS}
        spot("unknown-option", f"unknown option {name!r}", nearest(name, known))
        return
    if (name in _VALUED) != bool(value):
        wants = "needs a value" if name in _VALUED else "takes no value"
        hint = f"write {name} VALUE" if name in _VALUED else f"write {name} alone"
        spot("invalid-requirement", f"{name} {wants}", hint)
        return
    value = value or ""
    index = reading.index
    match name:
        case "--requirement" | "--constraint":
            nested = constraint or name == "--constraint"
            read_file(reading, _expand(value, spot), file.parent, spot.place, above, nested)
        case "--index-url" if _index_url(value, spot):
            if index.index_url not in (None, value):
                message = f"a second --index-url; the first is {index.index_url}"
                spot("invalid-requirement", message, "use --extra-index-url")
            reading.index = replace(index, index_url=value, places=_placed(index, value, spot))
        case "--extra-index-url" if _index_url(value, spot):
            extra = _add(index.extra_index_urls, value)
            places = _placed(index, value, spot)
            reading.index = replace(index, extra_index_urls=extra, places=places)
        case "--find-links":
            if link := _find_links(value, file, spot):
                links = _add(index.find_links, link)
                places = _placed(index, link, spot)
                reading.index = replace(index, find_links=links, places=places)
        case "--no-index":
            reading.index = replace(index, no_index=True)
        case "--pre":
            reading.index = replace(index, pre=True)
        case "--no-binary":
            reading.index = replace(index, no_binary=_formats(index.no_binary, value))
        case "--only-binary":
            reading.index = replace(index, only_binary=_formats(index.only_binary, value))


def _placed(index: IndexOptions, url: str, spot: Refusals) -> tuple[tuple[str, Place], ...]:
    return (*index.places, (url, spot.place))


def _add(known: tuple[str, ...], value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*known, value)))


def _formats(known: tuple[str, ...], value: str) -> tuple[str, ...]:
    """`:none:` empties the list and `:all:` stands for every name, as in pip."""
    for item in filter(None, (part.strip() for part in value.split(","))):
        known = () if item == ":none:" else _add(known, item)
    return (":all:",) if ":all:" in known else tuple(sorted(known))


def _index_url(url: str, spot: Refusals) -> bool:
    """Whether it is a URL of an index; `${VARIABLE}` is filled in when it is used, not here."""
    if not re.match(r"(?:(?:https?|file)://\S|\$\{[A-Z0-9_]+\})\S*$", url):
        hint = "write one of http, https or file: https://HOST/simple"
        spot("invalid-requirement", f"{url!r} is not the URL of an index", hint)
        return False
    return check_credentials(url, spot)


def _find_links(value: str, file: Path, spot: Refusals) -> str | None:
    if re.match(r"(?:https?|file)://", value):
        return value if check_credentials(value, spot) else None
    folder = Path(os.path.normpath(file.parent / Path(_expand(value, spot)).expanduser()))
    if long := misfit(folder):
        spot("name-too-long", f"--find-links: {long}", "shorten it")
        return None
    if not folder.exists():
        near = nearest(folder.name, (f.name for f in folder.parent.glob("*")))
        hint = near or f"there is nothing in {folder.parent}"
        spot("missing-file", f"--find-links: there is no {value!r} (looked for {folder})", hint)
        return None
    return str(folder)


def _expand(text: str, spot: Refusals) -> str:
    """`${VARIABLE}` filled in as pip does, save before a URL's `@`: there it is a secret."""

    def value(match: re.Match[str]) -> str:
        before, after = text[: match.start()], text[match.end() :]
        authority = re.search(r"://[^/\s]*$", before) and "@" in re.split(r"[/\s]", after)[0]
        if authority or "?" in before:
            return match.group()
        if match.group(1) not in os.environ:
            hint = f"export {match.group(1)}=…, or write what it stands for"
            spot("unset-variable", f"the variable {match.group(1)} is not set", hint)
        return os.environ.get(match.group(1), match.group())

    return re.sub(r"\$\{([A-Z0-9_]+)\}", value, text)
