"""Files in a stack of layers, read from the top: the first layer that says what is at a path
decides, and no more layers are read than it takes.

Names that begin with `.wh.` say what of the layers below is gone (OCI image-spec, layer.md). Links
are followed within the image, each from the top again, save hard ones: these mean what their own
layer has, or one below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from coopery.glimpses import LARGEST_FILE
from coopery_publish.layers import Damaged, Entry, Layer

_MOST_LINKS, _LONGEST = 40, 4096
"""Links that are followed to one file, and bytes of a path, as by Linux."""
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
Parts = tuple[str, ...]


@dataclass(frozen=True)
class _Want:
    """A file that is looked for at `parts`, in the layer `top` and below.

    `folders` are the lengths of those paths to it which are folders, as a layer above says: what
    else is there further below is hidden. `before` is where it was looked for already.
    """

    asked: str
    parts: Parts
    top: int
    folders: frozenset[int] = frozenset()
    before: frozenset[tuple[Parts, int]] = frozenset()

    def moved(self, parts: Parts, top: int) -> _Want:
        """The same file, somewhere else. Raises Damaged for links that lead in circles."""
        before = self.before | {(self.parts, self.top)}
        if len(before) > _MOST_LINKS or (parts, top) in before:
            raise Damaged(f"the links at {self.asked} lead in circles")
        if sum(map(len, parts)) + len(parts) > _LONGEST:
            raise Damaged(f"a link at {self.asked} leads to a path that is too long")
        return _Want(self.asked, parts, top, before=before)


@dataclass
class Sight:
    """What one layer says of what is wanted; `too_large` is an error for a path and its bytes."""

    wants: Sequence[_Want]
    number: int
    too_large: Callable[[str, int], Exception]
    found: dict[_Want, bytes | None] = field(default_factory=dict)
    """Files with their contents, and None for what is decided to be none."""
    moved: dict[_Want, tuple[int, Entry]] = field(default_factory=dict)
    """The link at a path of so many parts, through which a file is to be looked for."""
    folders: dict[_Want, set[int]] = field(default_factory=dict)
    hidden: set[_Want] = field(default_factory=set)
    _names: dict[str, list[tuple[_Want, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for want in self.wants:
            for depth in range(1, len(want.parts) + 1):
                self._names.setdefault("/".join(want.parts[:depth]), []).append((want, depth))

    @property
    def is_over(self) -> bool:
        """Whether the rest of the layer can say nothing more."""
        return len(self.found) + len(self.moved) == len(self.wants)

    def see(self, layer: Layer) -> None:
        """Read a layer's entries, until all is decided. Raises Damaged, and `too_large`."""
        for entry in layer.entries():
            parent, _, base = entry.name.rpartition("/")
            if base.startswith(_WHITEOUT):
                self._hide(parent, base)
            elif known := self._names.get(entry.name):
                self._decide(entry, known, layer)
                if self.is_over:
                    return

    def _hide(self, parent: str, base: str) -> None:
        """Of the layers below, a file or folder is gone, or all that is in one."""
        if base == _OPAQUE:
            within = [want for want, _ in self._names.get(parent, ())]
            self.hidden |= {*(within if parent else self.wants)}
        else:
            name = base.removeprefix(_WHITEOUT)
            if name in ("", ".", ".."):
                raise Damaged(f"a layer holds the name {base!r}, which hides what is no file")
            path = f"{parent}/{name}" if parent else name
            self.hidden |= {want for want, _ in self._names.get(path, ())}

    def _decide(self, entry: Entry, known: Iterable[tuple[_Want, int]], layer: Layer) -> None:
        content: bytes | None = None
        for want, depth in known:
            if want in self.found or want in self.moved:
                continue
            last = depth == len(want.parts)
            match entry.kind:
                case "folder" if not last:
                    self.folders.setdefault(want, set()).add(depth)
                case "link" if last or depth not in want.folders:
                    self.moved[want] = (depth, entry)
                case "hard" if last:
                    self.moved[want] = (depth, entry)
                case "file" if last:
                    if entry.size > LARGEST_FILE:
                        raise self.too_large(want.asked, entry.size)
                    content = layer.content() if content is None else content
                    self.found[want] = content
                case "sparse" if last:
                    raise Damaged(f"{want.asked} is a sparse file, which is not read")
                case _:
                    self.found[want] = None


@dataclass
class Stack:
    """So many layers, counted from the bottom; `look` reads one and tells a Sight what is in it."""

    count: int
    look: Callable[[Sequence[_Want], int], Sight]
    _links: dict[Parts, Entry] = field(default_factory=dict)
    """The symbolic links that were met, as they are seen from the top."""

    def find(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """The contents of those paths that are regular files, or links to such. Raises Damaged."""
        found: dict[str, bytes] = {}
        top = self.count - 1
        wants = [_Want(path, tuple(path.split("/")[1:]), top) for path in dict.fromkeys(paths)]
        while wants:
            again: list[_Want] = []
            for number in range(top, -1, -1):
                later = [want for want in wants if want.top < number]
                here = [want for want in wants if want.top >= number]
                if here:
                    sight = self.look(here, number)
                    found |= {w.asked: c for w, c in sight.found.items() if c is not None}
                    again += [self._follow(w, *link, number) for w, link in sight.moved.items()]
                    here = _left(sight)
                wants = [*later, *here]
            wants = [want for want in map(self._known, again) if want.parts]
        return found

    def _follow(self, want: _Want, depth: int, link: Entry, number: int) -> _Want:
        if link.kind == "hard":
            return want.moved(tuple(filter(None, link.target.split("/"))), number)
        if want.top == self.count - 1:
            self._links[want.parts[:depth]] = link
        return _through(want, depth, link, self.count - 1)

    def _known(self, want: _Want) -> _Want:
        """What is wanted, through links that were met before: the layers need not be read again."""
        while want.top == self.count - 1:
            for depth in range(1, len(want.parts) + 1):
                if link := self._links.get(want.parts[:depth]):
                    want = _through(want, depth, link, want.top)
                    break
            else:
                break
        return want


def _left(sight: Sight) -> list[_Want]:
    """What a layer has not decided, and what is known of it for the layers below."""
    open_ = (w for w in sight.wants if w not in sight.found and w not in sight.moved)
    return [
        replace(want, folders=want.folders | sight.folders.get(want, set()))
        for want in open_
        if want not in sight.hidden
    ]


def _through(want: _Want, depth: int, link: Entry, top: int) -> _Want:
    """What is wanted, where a symbolic link at the first parts of its path leads."""
    parts = [] if link.target.startswith("/") else list(want.parts[: depth - 1])
    went_down = False
    for part in link.target.split("/"):
        if part == "..":
            if went_down:
                # What is above a folder that may be a link itself is not to be told by names.
                raise Damaged(f"the link {link.name} goes down and up again, to {link.target}")
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
            went_down = True
    return want.moved((*parts, *want.parts[depth:]), top)
