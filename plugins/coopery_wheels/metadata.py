"""What a project says of itself: static metadata first, the build backend's where it must be."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery.errors import Place, Problem, RecipeError, nearest

if TYPE_CHECKING:
    from coopery_wheels.work import Origin

_LEGACY = "setuptools.build_meta:__legacy__"
_LEGACY_REQUIRES = ("setuptools >= 40.8.0",)
# Build requirements whose backends read the version from the repository.
_VERSIONING = {
    "setuptools-scm", "hatch-vcs", "versioningit", "versioneer", "flit-scm", "dunamai",
    "setuptools-git-versioning", "poetry-dynamic-versioning", "uv-dynamic-versioning",
    "setuptools-vcs", "vcs-versioning", "pbr", "miniver",
}  # fmt: skip
_REQUIRING = frozenset({"dependencies", "optional-dependencies"})


@dataclass(frozen=True, kw_only=True)
class Line:
    """A requirement line and the line number it stands at, where that is known."""

    text: str
    number: int | None = None


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Core metadata, as far as resolution needs it."""

    name: str
    version: str
    requires: tuple[Line, ...]
    extras: tuple[str, ...] = ()
    """Every extra there is."""
    requires_python: str | None = None
    number: int | None = None


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A project's source tree: `table` is its parsed pyproject.toml, empty without one."""

    root: Path
    table: Mapping[str, Any]
    text: str = field(repr=False)

    @property
    def project(self) -> Mapping[str, Any]:
        """The `[project]` table."""
        found = self.table.get("project", {})
        return found if isinstance(found, dict) else {}

    @property
    def dynamic(self) -> frozenset[str]:
        """The fields that only the backend knows."""
        return frozenset(self.project.get("dynamic", ()))

    @property
    def name(self) -> str | None:
        """The canonical name, where it is static."""
        found = self.project.get("name")
        return canonical(found) if isinstance(found, str) else None

    @property
    def version(self) -> str | None:
        """The version, where it is static."""
        found = self.project.get("version")
        return found if isinstance(found, str) and "version" not in self.dynamic else None

    @property
    def backend(self) -> str:
        """The build backend."""
        return str(self.table.get("build-system", {}).get("build-backend", _LEGACY))

    @property
    def build_requires(self) -> tuple[str, ...]:
        """What the backend needs, sorted."""
        found = self.table.get("build-system", {}).get("requires", _LEGACY_REQUIRES)
        return tuple(sorted(str(line) for line in found))

    @property
    def versioned(self) -> bool:
        """Whether the version comes from the repository."""
        named = {
            canonical(re.split(r"[^A-Za-z0-9._-]", r, maxsplit=1)[0]) for r in self.build_requires
        }
        source = self.table.get("tool", {}).get("pdm", {}).get("version", {}).get("source")
        return self.version is None and (
            bool(named & _VERSIONING) or source == "scm" or (self.root / "versioneer.py").exists()
        )

    @property
    def file(self) -> Path:
        """The file that metadata comes from."""
        found = self.root / "pyproject.toml"
        return found if found.exists() else self.root / "setup.py"

    def number(self, text: str, after: str = "[project]") -> int | None:
        """The line where a string stands in pyproject.toml, after the header `after`."""
        lines = self.text.splitlines()
        start = next((i for i, line in enumerate(lines) if line.strip() == after), 0)
        for number, line in enumerate(lines[start:], start + 1):
            if f'"{text}"' in line or f"'{text}'" in line:
                return number
        return None


def canonical(name: str) -> str:
    """A distribution's name in its one canonical spelling (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_tree(root: Path) -> Tree | None:
    """The source tree in `root`; None when it is not one (PEP 517).

    Raises RecipeError (`invalid-toml`).
    """
    file = root / "pyproject.toml"
    try:
        text = file.read_text("utf-8")
        table = tomllib.loads(text)
    except FileNotFoundError:
        return Tree(root=root, table={}, text="") if (root / "setup.py").is_file() else None
    except UnicodeDecodeError:
        place = Place(file=str(file))
        message = "the file is not UTF-8"
        hint = "save it in that encoding"
        found = Problem(slug="invalid-toml", message=message, place=place, hint=hint)
        raise RecipeError(found) from None
    except tomllib.TOMLDecodeError as error:
        from coopery.toml_faults import toml_problem

        raise RecipeError(toml_problem(file, text, str(error))) from None
    # A pyproject.toml that only configures tools makes no project.
    known = "build-system" in table or "project" in table
    if known or (root / "setup.py").is_file() or (root / "setup.cfg").is_file():
        return Tree(root=root, table=table, text=text)
    return None


def read_static(tree: Tree, extras: Sequence[str]) -> Metadata | None:
    """The metadata in `[project]`; None when the backend must be asked for a part of it."""
    needed = {"requires-python", "dependencies", *(_REQUIRING if extras else ())}
    if tree.name is None or tree.version is None or needed & tree.dynamic or not _plain(tree):
        return None
    return Metadata(
        name=tree.name,
        version=tree.version,
        requires=tuple(_static_requires(tree, extras)),
        extras=tuple(tree.project.get("optional-dependencies", ())),
        requires_python=tree.project.get("requires-python"),
        number=tree.number(str(tree.project["name"])),
    )


def _plain(tree: Tree) -> bool:
    """Whether `[project]` has the shapes of its standard; the backend refuses others best."""
    lists = [tree.project.get("dependencies", [])]
    table = tree.project.get("optional-dependencies", {})
    if not isinstance(table, dict) or not isinstance(tree.project.get("requires-python", ""), str):
        return False
    return all(
        isinstance(lines, list) and all(isinstance(line, str) for line in lines)
        for lines in (*lists, *table.values())
    )


def _static_requires(tree: Tree, extras: Sequence[str]) -> Iterator[Line]:
    for text in tree.project.get("dependencies", ()):
        yield Line(text=text, number=tree.number(text))
    table = {
        canonical(name): lines
        for name, lines in tree.project.get("optional-dependencies", {}).items()
    }
    pending = [(canonical(extra), "") for extra in extras]
    seen = set(pending)
    while pending:
        extra, condition = pending.pop(0)
        for text in table.get(extra, ()):
            own = re.fullmatch(r"\s*([\w.-]+)\s*\[([^\]]*)\]\s*(?:;\s*(.*\S)\s*)?", text)
            if own and canonical(own[1]) == tree.name:
                # An extra that is made of others of the same project.
                marker = " and ".join(f"({m})" for m in (condition, own[3]) if m)
                inner = [(canonical(part.strip()), marker) for part in own[2].split(",")]
                pending += [item for item in inner if item not in seen]
                seen.update(inner)
                continue
            number = tree.number(text, "[project.optional-dependencies]")
            yield Line(text=_with_marker(text, condition), number=number)


def _with_marker(text: str, condition: str) -> str:
    if not condition:
        return text
    line, _, marker = text.partition(";")
    return f"{line.strip()} ; " + (f"({marker.strip()}) and {condition}" if marker else condition)


def parse_metadata(text: str, extras: Sequence[str]) -> Metadata:
    """Core metadata from a METADATA file, with the requirements of these extras."""
    from coopery_wheels.archives import header, read_headers

    headers = read_headers(text)
    lines = (value for name, value in headers if name == "requires-dist")
    wanted = {canonical(extra) for extra in extras}
    kept = (_without_extra(line, wanted) for line in lines)
    return Metadata(
        name=canonical(header(headers, "Name") or ""),
        version=header(headers, "Version") or "",
        requires=tuple(Line(text=line) for line in kept if line),
        extras=tuple(value for name, value in headers if name == "provides-extra"),
        requires_python=header(headers, "Requires-Python"),
    )


_EXTRA = re.compile(r"""extra\s*==\s*(["'])(?P<name>[^"']*)\1""")
_TRUE, _FALSE = "python_version >= '0'", "python_version < '0'"


def _without_extra(line: str, wanted: set[str]) -> str | None:
    """A requirement with `extra == …` in its marker decided; None when it falls away.

    The rest of the marker stays, since a lock may hold for other machines than this one.
    """
    requirement, _, marker = line.partition(";")
    if not _EXTRA.search(marker):
        return line.strip()

    def decide(found: re.Match[str]) -> str:
        return _TRUE if canonical(found["name"]) in wanted else _FALSE

    decided = _EXTRA.sub(decide, marker).strip()
    decided = decided.replace(f" and {_TRUE}", "").replace(f"{_TRUE} and ", "")
    if decided in (_TRUE, f"({_TRUE})"):
        return requirement.strip()
    if _FALSE in decided and " or " not in decided:
        return None
    return f"{requirement.strip()} ; {decided}"


def read_dynamic(
    tree: Tree,
    files: tuple[str, ...],
    python: str,
    extras: Sequence[str],
    home: Path,
    origin: Origin | None = None,
) -> Metadata:
    """The metadata that the backend prepares, kept in the home folder by content.

    `origin` tells where its build requirements come from; by default, from the user's indexes.

    Raises what `preparing.prepared` does.
    """
    from dataclasses import replace

    from coopery_wheels.preparing import prepared

    found = parse_metadata(prepared(tree, files, python, home, origin), extras)
    number = tree.number(str(tree.project["name"])) if tree.name else None
    if tree.name is not None and _plain(tree) and not _REQUIRING & tree.dynamic:
        # Only the version is the backend's: requirements keep their lines.
        found = replace(found, requires=tuple(_static_requires(tree, extras)))
    return replace(found, number=number)


def unknown_extras(metadata: Metadata, extras: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """The extras asked for that there are not, each with a hint."""
    known = {canonical(extra): extra for extra in metadata.extras}
    for extra in extras:
        if canonical(extra) not in known:
            yield extra, nearest(extra, known.values()) or "it declares no extras"


def fits(requires_python: str, python: str) -> bool:
    """Whether Python X.Y can satisfy `requires-python`."""
    import sys

    wanted = tuple(int(part) for part in python.split("."))
    if simple := re.fullmatch(r"\s*>=\s*(\d+)\.(\d+)(?:\.0)?\s*", requires_python):
        return wanted >= (int(simple[1]), int(simple[2]))
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    full = f"{python}.{sys.version_info[2]}"
    tries = [full] if wanted == sys.version_info[:2] else [f"{python}.0", f"{python}.99"]
    try:
        specifier = SpecifierSet(requires_python)
    except InvalidSpecifier:
        return True  # The backend refuses it with a better message than ours.
    return any(specifier.contains(version, prereleases=True) for version in tries)
