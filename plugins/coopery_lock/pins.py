"""From uv's list of files to pins: every file's hash, narrowed by the hashes that a user gave."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from coopery.dependencies import DependencySet, Requirement
from coopery.errors import Problem, RecipeError
from coopery_lock.lines import name_of
from coopery_lock.lockfile import Package
from coopery_lock.platforms import Table, file_name, files_of, suits


def packages_of(
    tables: Sequence[Table],
    versions: Mapping[str, str | None],
    dependencies: DependencySet,
    platform: str,
    gits: Mapping[str, Package],
) -> tuple[Package, ...]:
    """The pins; hashes that the user gave narrow them, if to files for this platform. `gits` are
    those of git repositories.
    """
    urls = urls_of(dependencies)
    given: dict[str, list[Requirement]] = {}
    for item in dependencies.requirements:
        if item.hashes:
            given.setdefault(name_of(item.line), []).append(item)
    found: list[Package] = []
    problems: list[Problem] = []
    for name, version in sorted(versions.items()):
        if name in gits:
            found.append(gits[name])
            continue
        own = [t for t in tables if t["name"] == name and version in (None, t.get("version"))]
        files = {
            f"{k}:{v}": file_name(file)
            for table in own
            for file in files_of(table)
            for k, v in file.get("hashes", {}).items()
        }
        archive = next((t["archive"] for t in own if "archive" in t), None)
        package = Package(
            name=name,
            version=version or next((t["version"] for t in own if "version" in t), ""),
            hashes=tuple(sorted(files)),
            url=urls.get(name) or archive.get("url") if archive else None,
        )
        if name in given:
            package = replace(
                package, hashes=_narrow(files, given[name], dependencies.python, platform)
            )
            if not package.hashes:
                message = f"no file of {name} {package.version} has a hash that is given for it"
                place = given[name][0].place
                hint = "take the hashes of this version from its index, or drop them"
                problems.append(
                    Problem(slug="hash-mismatch", message=message, place=place, hint=hint)
                )
        elif not files:
            problems.append(_no_hashes(package, dependencies))
        found.append(package)
    if problems:
        raise RecipeError(*problems)
    return tuple(found)


def files_by_name(
    tables: Sequence[Table], packages: Sequence[Package]
) -> dict[str, tuple[str, ...]]:
    """The names of the files that the hashes of each package allow."""
    allowed = {package.name: {*package.hashes} for package in packages}
    found: dict[str, list[str]] = {name: [] for name in allowed}
    for table in tables:
        for file in files_of(table) if table["name"] in allowed else ():
            hashes = {f"{kind}:{value}" for kind, value in file.get("hashes", {}).items()}
            if hashes & allowed[table["name"]]:
                found[table["name"]].append(file_name(file))
    return {name: tuple(files) for name, files in found.items()}


def urls_of(dependencies: DependencySet) -> dict[str, str]:
    """Direct references as written: with `${VARIABLE}` where uv knows the secret in its place."""
    lines = [r.line for r in dependencies.requirements]
    lines += [r.line for local in dependencies.locals for r in local.requires]
    split = ((name_of(line), re.split(r"\s+@\s+|@", line, maxsplit=1)) for line in lines)
    return {
        name: re.split(r"\s+;|\s*$", parts[1], maxsplit=1)[0].strip()
        for name, parts in split
        if len(parts) == 2 and "://" in parts[1]
    }


def _narrow(
    files: Mapping[str, str], asking: Sequence[Requirement], python: str, platform: str
) -> tuple[str, ...]:
    """The hashes that both know, none if they are of files for other machines alone; those of
    algorithms the index does not give stay as given.
    """
    given = {value for item in asking for value in item.hashes}
    other = {value for value in given if not value.startswith("sha256:")}
    both = files.keys() & given
    here = other or any(suits(files[value], python, platform) for value in both)
    return tuple(sorted(other | both)) if here else ()


def _no_hashes(package: Package, dependencies: DependencySet) -> Problem:
    message = f"image {dependencies.image!r}: the index gives no hash of {package.name}"
    hint = f"give one in a requirements file: {package.name}=={package.version} --hash=sha256:…"
    return Problem(slug="no-hashes", message=message, hint=hint)
