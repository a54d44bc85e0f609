"""Paths that are not trusted, and which files of a folder are the project's own."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coopery.model import Recipe

LOCK_HEAD = "# The exact packages of this recipe's images."
"""How each lock begins, by which one is known for it."""

# What no project means as its own: version control, byte code, environments, build metadata.
_NEVER = re.compile(r"(?:^|/)(?:\.git|__pycache__|\.venv|[^/]*\.egg-info)(?:/|$)|\.pyc$")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
# A caller's git hook sets these for its own repository.
_GIT_LOCAL = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")

_Verdict = Callable[[str], bool | None]
"""Whether a path (folders end in `/`) is ignored; None where nothing is said of it."""


class LinkOutside(ValueError):
    """A folder holds a symbolic link that leads out of it, so no copy of it stands alone."""

    def __init__(self, path: Path, target: str) -> None:
        super().__init__(f"{path} is a symbolic link to {target}, outside of its folder")
        self.path = path


def beneath(root: Path, relative: str | PurePath) -> Path:
    """`root / relative`, where that cannot leave `root`, symbolic links included.

    Raises ValueError for an absolute path, for `..`, for NUL, and for links that lead outside.
    """
    text = str(relative)
    pure = PurePath(text)
    if "\0" in text:
        raise ValueError("a path holds a NUL character")
    if pure.is_absolute():
        raise ValueError(f"{text!r} is absolute")
    if ".." in pure.parts:
        raise ValueError(f"{text!r} leads upwards")
    joined = root / pure
    if not joined.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{text!r} leads outside of {root}")
    return joined


def made_here(recipe: Recipe, home: Path | None = None) -> tuple[Path, ...]:
    """What coopery itself writes among a recipe's files: outputs, the locks (those of recipes
    beside it, too), the home.

    Absolute paths; `*` stands where a destination has a placeholder.
    """
    outputs = (
        recipe.root / _PLACEHOLDER.sub("*", output.path)
        for task in recipe.tasks.values()
        for output in task.outputs.values()
        if output.path
    )
    own = (recipe.lock_file, *_locks_beside(recipe))
    return (*dict.fromkeys(outputs), *own, *([home, home.resolve()] if home else []))


def _locks_beside(recipe: Recipe) -> list[Path]:
    """The locks of recipes in the same folder; other files of such names begin otherwise."""
    found = []
    for path in sorted(recipe.file.parent.glob("*.lock")):
        if path == recipe.lock_file or not path.is_file():
            continue
        with suppress(OSError), path.open("rb") as file:  # what nobody can read is told elsewhere
            if file.read(len(LOCK_HEAD)) == LOCK_HEAD.encode():
                found.append(path)
    return found


def project_files(
    root: Path,
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    skip: Iterable[str | Path] = (),
) -> tuple[str, ...]:
    """The files of a folder that are not ignored: sorted, relative to it, with `/`.

    In a git work tree, git says what is ignored; elsewhere the `.gitignore` files do. `include`
    and `exclude` are globs as in `.gitignore`, and narrow that further. `skip` are paths, absolute
    or relative to `root`, left out with all beneath them; `*` in them matches within one name.
    Symbolic links count as files. Raises LinkOutside for one that leads out of `root`.
    """
    root = root.absolute()
    found = _from_git(root) if _inside_git(root) else _walk(root, ())
    skipped = _skipper(root, skip)
    chosen = {
        name: link
        for name, link in found
        if not (_NEVER.search(name) or (skipped and skipped(name)))
    }
    include, exclude = tuple(include), tuple(exclude)
    if include:
        included = _matcher(include)
        chosen = {name: link for name, link in chosen.items() if included(name)}
    if exclude:
        excluded = _matcher(exclude)
        chosen = {name: link for name, link in chosen.items() if not excluded(name)}
    for name, link in chosen.items():
        if link:
            _check_link(root, root / name)
    return tuple(sorted(chosen))


def _check_link(root: Path, link: Path) -> None:
    target = link.readlink()
    if target.is_absolute() or not link.resolve().is_relative_to(root.resolve()):
        raise LinkOutside(link, str(target))


def _skipper(root: Path, skip: Iterable[str | Path]) -> Callable[[str], object] | None:
    patterns = []
    for path in skip:
        relative = os.path.relpath(root / path, root)
        if relative != "." and relative.split("/", 1)[0] != "..":
            patterns.append("[^/]*".join(re.escape(part) for part in relative.split("*")))
    return re.compile(f"(?:{'|'.join(patterns)})(?:/|$)").match if patterns else None


def _matcher(globs: tuple[str, ...]) -> Callable[[str], bool]:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(globs).match_file


def _work_tree(root: Path) -> Path | None:
    return next((f for f in (root, *root.parents) if os.path.lexists(f / ".git")), None)


def _inside_git(root: Path) -> bool:
    return _work_tree(root) is not None


def run_git(root: Path, *arguments: str) -> bytes | None:
    """What git prints, or None where it is missing or refuses.

    It refuses repositories of other owners, rightly: their configuration may name programs to run.
    """
    import subprocess

    from coopery.secrets import known_to_children

    inherited = known_to_children(os.environ)
    environment = {k: v for k, v in inherited.items() if k not in _GIT_LOCAL}
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, stdin=subprocess.DEVNULL, capture_output=True
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def _from_git(root: Path) -> Iterator[tuple[str, bool]]:
    listed = run_git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    if listed is None:
        yield from _walk(root, tuple(_rules_above(root)))
        return
    if not listed and run_git(root, "check-ignore", "-q", ".") is not None:
        # The repository around it ignores the whole folder, which then stands for itself.
        yield from _walk(root, ())
        return
    base = f"{root}/"
    for name in os.fsdecode(listed).split("\0"):
        try:
            mode = os.lstat(base + name).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue  # An index still lists what was deleted.
        if stat.S_ISDIR(mode) and name:
            # A nested repository is listed as one folder: `name/`, or a submodule's bare name.
            # One that is not checked out has nothing of its own.
            if os.path.lexists(f"{base}{name}/.git"):
                inner = _from_git(root / name)
                yield from ((f"{name.rstrip('/')}/{file}", link) for file, link in inner)
        elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            yield name, stat.S_ISLNK(mode)


def _rules_above(root: Path) -> Iterator[_Verdict]:
    """The ignore rules of a repository that hold for a folder within it, outermost first."""
    top = _work_tree(root)
    if top is None or top == root:
        return
    relative = root.relative_to(top).parts
    for depth in range(len(relative)):
        folder = top.joinpath(*relative[:depth])
        if (folder / ".gitignore").is_file():
            yield _rules(folder / ".gitignore", "/".join(relative[depth:]) + "/", 0)


def _rules(file: Path, prefix: str, cut: int) -> _Verdict:
    """The verdicts of one ignore file, on paths to which `prefix` is added or `cut` taken off."""
    from pathspec import GitIgnoreSpec

    spec = GitIgnoreSpec.from_lines(file.read_text("utf-8", "surrogateescape").splitlines())
    return lambda name: spec.check_file(prefix + name[cut:]).include


def _walk(root: Path, rules: tuple[_Verdict, ...]) -> Iterator[tuple[str, bool]]:
    """Files beneath a folder that no `.gitignore` on the way ignores; the innermost decides."""
    pending = [("", rules)]
    while pending:
        prefix, active = pending.pop()
        with os.scandir(f"{root}/{prefix}") as entries:
            found = list(entries)
        if any(entry.name == ".gitignore" and entry.is_file() for entry in found):
            active = (*active, _rules(root / prefix / ".gitignore", "", len(prefix)))
        for entry in found:
            name = prefix + entry.name
            folder = entry.is_dir(follow_symlinks=False)
            if _NEVER.search(name) or _ignored(f"{name}/" if folder else name, active):
                continue
            if folder:
                pending.append((f"{name}/", active))
            elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                yield name, entry.is_symlink()


def _ignored(name: str, rules: tuple[_Verdict, ...]) -> bool:
    for verdict in reversed(rules):
        if (said := verdict(name)) is not None:
            return said
    return False
