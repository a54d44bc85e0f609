"""Reasons: what differs between an earlier result's key and a step's, in a person's words."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coopery.keys import LISTING, ORIGIN, Identities, parts_of
from coopery.steps import FileSet, FileSource, Identity, Part, Record, Step, Store
from coopery.trees import identity_of

MOST = 8
"""How many differences a text tells of; the rest is counted."""

UNRECORDED = "what changed was not recorded"
"""Said where two keys differ and their recorded parts do not."""

_ROOM = 80
"""Characters that one side of a difference may take."""

_READ = 1 << 24
"""Bytes up to which a changed file is read once more, to tell a new exec bit from new contents."""

_DIGEST = re.compile(r"([0-9a-f]{64})(?:/(.*))?", re.DOTALL)
"""An identity, and the path inside it that is read."""

_BUILT_ON = "what it is built on"

_SPOKEN = {
    "version": "the way coopery does this",
    "host": "this machine",
    "python": "Python",
    "checker": "files of the check of packages",
    "requires": "build requirements",
    "backend": "build backend",
    "vcs": "what git says of the version",
    "aux_digests payload.pkl": "the function's code",
    "aux_digests call.json": "the function's call",
}
"""What a person calls a part whose name is that of a field."""


@dataclass(frozen=True)
class Change:
    """A part of a key that differs; None where there was none, or is none any more.

    `name` is for people; `role` that of the need behind the part, if one is. `members` are the
    files or instances that differ in it, as far as both listings were recorded.
    """

    name: str
    before: Part | None
    after: Part | None
    role: str = ""
    members: tuple[str, ...] = ()


def explain(record: Record | None, step: Step, identities: Identities) -> tuple[str, str]:
    """Why a step has no result under its key: a code (`new`, `changed`) and words."""
    if record is None:
        return "new", "nothing like it was made before"
    found = changes(record.parts, parts_of(step, identities))
    places = places_of(step)
    told = [words(change, identities.store, places) for change in found[:MOST]]
    more = [f"and {len(found) - MOST} more"] if len(found) > MOST else []
    return "changed", "; ".join(told + more) or UNRECORDED


def lost(step: Step) -> str:
    """That the result of work in place is gone, though its note in the home is there."""
    return getattr(step.work, "lost", "") or "it is not where it was made any more"


def places_of(step: Step) -> Mapping[str, Path]:
    """By role, where the files of the project that a step needs are."""
    found = {}
    for need in step.needs:
        match need.source:
            case FileSource(path=path) | FileSet(root=path):
                found[need.role] = path
    return found


def changes(before: Sequence[Part], after: Sequence[Part]) -> list[Change]:
    """What differs between the parts of two keys, without what only follows from the rest.

    A command changes with the parameters that it names, a package's hashes with its version, a
    channel's properties come and go with the channel: to tell of these too would hide the cause.
    """
    old, new = _spoken(before), _spoken(after)
    listings = [_listings(parts) for parts in (before, after)]
    found = []
    for ident in {**new, **old}:
        was, now = old.get(ident), new.get(ident)
        if (was and was.value) == (now and now.value):
            continue
        if isinstance(was or now, _Property) and (was is None or now is None):
            continue
        role = ident if _digest_of(now or was) and not ident.startswith("parameter ") else ""
        members = _members(listings[0].get(role), listings[1].get(role)) if role else ()
        found.append(Change(_name(ident, was, now), was, now, role=role, members=members))
    names = {change.name for change in found}
    known = {c.name.partition(":")[0].rpartition(" ")[2] for c in found if _is_named(c)}
    moved = {
        c.before.value: c.after.value
        for c in found
        if c.before and c.after and c.name.startswith("parameter ")
    }
    return _folded(
        c
        for c in found
        if c.name.removeprefix("files of ") not in names - {c.name}
        and not _follows(c, moved, known)
    )


def _folded(found: Iterable[Change]) -> list[Change]:
    """Several needs of parts of one result as one change, of the step that makes it."""
    grouped: dict[object, list[Change]] = {}
    for number, change in enumerate(found):
        sides = [(p.step, m) for p in (change.before, change.after) if p and (m := _inner(p))]
        alike = tuple((step, m[1]) for step, m in sides)
        whole = len(sides) == 2 and sides[0][0] == sides[1][0] and sides[0][0]
        grouped.setdefault(alike if whole else number, []).append(change)
    return [
        replace(group[0], name=group[0].after.step or group[0].name)
        if len(group) > 1 and group[0].after
        else group[0]
        for group in grouped.values()
    ]


def _inner(part: Part) -> re.Match[str] | None:
    """The identity of a part that is one with a path inside it."""
    found = _DIGEST.fullmatch(part.value)
    return found if found and found[2] else None


def words(change: Change, store: Store, places: Mapping[str, Path] | None = None) -> str:
    """A change in words: `parameter depth changed: 3 -> 4`."""
    name, was, now = change.name, change.before, change.after
    if was is None or now is None:
        said = (was or now or Part(name="", value="")).value
        what = f": {_called_with(said)}" if name.startswith("instruction ") else ""
        return f"{name} is {'new' if was is None else 'gone'}{what}"
    if isinstance(now, _Property):
        return f"{name.partition(': ')[0]}: {_property(now, was.value, now.value)}"
    if name.startswith("files of "):
        return f"{name} changed"  # of their hashes nobody would see how
    if name.startswith(ORIGIN):
        return f"{name} changed: {_brief(was.value)} -> {_brief(now.value)}"
    if name.startswith(_BUILT_ON):
        return f"{name} changed"
    if was.step and now.step and was.step != now.step:
        return f"{name} changed: from {was.step} to {now.step}"
    if change.role or _digest_of(was):
        return _need(change, was.value, now.value, store, (places or {}).get(change.role))
    old, new = _parsed(was.value), _parsed(now.value)
    if _is_content(old) and _is_content(new):
        return f"{name} changed{_lines(*(bytes.fromhex(x['bytes']) for x in (old, new)))}"
    return f"{name} changed: {_difference(old, new)}"


def _is_content(value: Any) -> bool:
    """Whether it is the content of a small file, as `coopery.digests` writes it."""
    return isinstance(value, dict) and [*value] == ["bytes"]


def _lines(old: bytes, new: bytes) -> str:
    """The line that differs between two texts, where it is one; else nothing."""
    try:
        texts = [content.decode().splitlines() for content in (old, new)]
    except UnicodeDecodeError:
        return ""
    apart = [[x for x in texts[a] if x not in texts[1 - a]] for a in (0, 1)]
    if [len(lines) for lines in apart] != [1, 1]:
        return ""
    # Of a package's hashes nobody would see how.
    first, second = (lines[0].partition(" --hash=")[0] for lines in apart)
    return f": {' -> '.join(_window(first, second))}" if first != second else ""


# -- names ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Property(Part):
    """What is said of a channel: its base name, that its folder is made beforehand, its mount."""


def _spoken(parts: Sequence[Part]) -> dict[str, Part]:
    """The parts as a person sees them, by what they are about; their names are what to call it."""
    found: dict[str, Part] = {}
    for part in parts:
        if part.name.startswith(LISTING):
            continue
        for ident, said in _said(part):
            # What two parts are about alike is kept apart rather than lost.
            found[ident if ident not in found or found[ident] == said else part.name] = said
    return found


def _said(part: Part) -> Iterator[tuple[str, Part]]:
    noun = part.name.removesuffix("s")
    if part.name in ("inputs", "outputs"):
        for item in _parsed(part.value) or ():
            yield from _channel(noun, item)
        return
    if part.name == "image" and part.step:
        subject = part.step.partition(" ")[2]
        yield "image", replace(part, name=f"image {subject}" if subject else "image")
        return
    if part.name.startswith(ORIGIN) or (part.name == "base" and part.step):
        # An image's part is built on its base or on the part before: either way one thing.
        yield "base", replace(part, name=part.step or part.name)
        return
    if part.name == "origin" and not part.value:
        return  # of a part with another before it
    if part.name in ("package", "hashes") and part.value == "[]":
        return  # there is none: those that are have parts of their own
    kind, _, rest = part.name.partition(" ")
    match kind:
        case "hashes":
            name = f"files of package {rest}"
        case "texts":
            name = rest
        case "coords":
            name = f"matrix axis {rest}"
        case "aux_digests":
            name = _SPOKEN.get(part.name, f"the auxiliary file {rest}")
        case _:
            name = _SPOKEN.get(part.name, part.name if rest else part.name.replace("_", " "))
    # Where a need of the project's lies may change without it: it is about the same need.
    ident = part.name.partition(" (")[0] if _digest_of(part) else part.name
    yield ident, replace(part, name=name)


def _channel(noun: str, item: Any) -> Iterator[tuple[str, Part]]:
    """A channel's own part and its properties; of a plain name only the former."""
    if isinstance(item, str):
        yield f"{noun} {item}:", Part(name=f"{noun} {item}", value="")
        return
    channel: Mapping[str, Any] = item["has"]
    name = f"{noun} {channel['name']}"
    if noun == "output":  # of an input, the need tells
        yield f"{name}:", Part(name=name, value="")
    for key in ("base", "folder", "mount"):
        if noun == "input" and key == "folder":
            continue
        text = _shown(channel[key])
        yield f"{name}: {key}", _Property(name=f"{name}: {key}", value=text)


def _property(part: Part, old: str, new: str) -> str:
    noun, _, key = part.name.partition(": ")
    if key == "base":
        return f"{'seen as' if noun.startswith('input ') else 'base name'} {old} -> {new}"
    if key == "folder":
        return f"{'now' if new == 'true' else 'no longer'} a folder that is made beforehand"
    if "null" in (old, new):
        return f"now mounted at {new}" if old == "null" else f"no longer mounted at {old}"
    return f"mounted at {old} -> {new}"


def _name(ident: str, was: Part | None, now: Part | None) -> str:
    """What to call a part of either name; a need that lies elsewhere now is called by both."""
    if was is None or now is None or was.name == now.name:
        return (now or was or Part(name="", value="")).name
    if ident == "base":
        if was.name.startswith(ORIGIN) and now.name.startswith(ORIGIN):
            return f"{was.name} -> {now.name.removeprefix(ORIGIN)}"
        return f"{_BUILT_ON} ({was.name} -> {now.name})"
    olds, news = was.name.partition(" ("), now.name.partition(" (")
    if olds[0] == news[0] and olds[2] and news[2]:
        return f"{news[0]} ({olds[2][:-1]} -> {news[2][:-1]})"
    return now.name


def _digest_of(part: Part | None) -> bool:
    """Whether a part's value is an identity."""
    return part is not None and _DIGEST.fullmatch(part.value) is not None


# -- what follows from the rest -------------------------------------------------------------------


def _is_named(change: Change) -> bool:
    """Whether it is a parameter, an axis or a channel, whose name may stand in other parts."""
    return change.name.startswith(("parameter ", "matrix axis ", "input ", "output "))


def _follows(change: Change, moved: Mapping[str, str], known: Collection[str]) -> bool:
    """Whether a text differs only where changed parameters (old -> new) stand in it, or under the
    names of what is `known` to differ.
    """
    if not (known and change.before and change.after) or change.after.step is not None:
        return False
    if _is_named(change) or change.role:
        return False
    old, new = _parsed(change.before.value), _parsed(change.after.value)
    return _derived(old, new, moved, known)


def _derived(old: Any, new: Any, moved: Mapping[str, str], known: Collection[str]) -> bool:
    match old, new:
        case dict(), dict():
            return all(
                k in known or (k in old and k in new and _derived(old[k], new[k], moved, known))
                for k in {**old, **new}
            )
        case list(), list():
            pairs = zip(old, new, strict=False)
            return len(old) == len(new) and all(_derived(a, b, moved, known) for a, b in pairs)
        case str(), str():
            return new == old or _replaced(old, new, moved)
    return bool(old == new) or moved.get(json.dumps(old)) == json.dumps(new)


def _replaced(old: str, new: str, moved: Mapping[str, str]) -> bool:
    """Whether `new` is `old` with some of the values that stand in it replaced."""
    values = [re.escape(value) for value in moved if value]
    if not values:
        return False
    pieces = re.split(f"({'|'.join(sorted(values, key=len, reverse=True))})", old)
    for number, piece in enumerate(pieces):
        choices = [piece, moved[piece]] if number % 2 else [piece]
        pieces[number] = f"(?:{'|'.join(map(re.escape, choices))})"
    return re.fullmatch("".join(pieces), new) is not None


# -- needs ----------------------------------------------------------------------------------------


def _need(change: Change, old: str, new: str, store: Store, place: Path | None) -> str:
    """What became of something that is known by its identity."""
    was, now = _DIGEST.fullmatch(old), _DIGEST.fullmatch(new)
    if was and now:
        if was[1] == now[1]:
            return f"{change.name}: inside it, {was[2] or 'all'} -> {now[2] or 'all'}"
        flipped = _exec_bit(place, was[1], now[1])
        if flipped:
            return f"{change.name}: {flipped}"
    inside = change.members or _inside(old, new, store, place)
    if not inside:
        return f"{change.name} changed"
    return f"{change.name} changed: {', '.join(inside[:5])}{', …' if len(inside) > 5 else ''}"


def _inside(old: str, new: str, store: Store, place: Path | None) -> tuple[str, ...]:
    """Which files of a folder differ, when both states of it are known."""
    if len(old) != 64 or len(new) != 64:
        return ()
    listings = [store.listing(Identity(digest=value, kind="folder")) for value in (old, new)]
    return _members(listings[0], listings[1], place)


def _members(
    before: Mapping[str, str] | None, after: Mapping[str, str] | None, place: Path | None = None
) -> tuple[str, ...]:
    if before is None or after is None:
        return ()
    found = [f"{path} is new" for path in after if path not in before]
    found += [f"{path} is gone" for path in before if path not in after]
    for path in after:
        if path in before and before[path] != after[path]:
            flipped = _exec_bit(place and place / path, before[path], after[path])
            found.append(f"{path} {flipped}" if flipped else path)
    return tuple(sorted(found))


def _exec_bit(path: Path | None, old: str, new: str) -> str:
    """What became of a file's exec bit, where nothing else of the file changed."""
    try:
        if path is None or not path.is_file() or path.stat().st_size > _READ:
            return ""
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""  # the words are less exact then; who performs it tells what is wrong
    plain, executable = identity_of(content, False), identity_of(content, True)
    return {
        (plain, executable): "made executable",
        (executable, plain): "no longer executable",
    }.get((old, new), "")


def _listings(parts: Sequence[Part]) -> dict[str, Mapping[str, str]]:
    return {
        part.name.removeprefix(LISTING): _parsed(part.value)
        for part in parts
        if part.name.startswith(LISTING)
    }


# -- texts ----------------------------------------------------------------------------------------


def _difference(old: Any, new: Any) -> str:
    """`old -> new`, cut down to where they differ."""
    if isinstance(old, list) and isinstance(new, list):
        return _items(old, new)
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if old.get(key, ...) != new.get(key, ...)]
        if len(keys) == 1 and keys[0] in old and keys[0] in new:
            return f"{keys[0]}: {_difference(old[keys[0]], new[keys[0]])}"
    return " -> ".join(_window(_shown(old), _shown(new)))


def _called_with(arguments: str) -> str:
    """An instruction's arguments in short; of a script, what it is called with."""
    items = _parsed(arguments)
    if not isinstance(items, list):
        return _short(_line(arguments))
    script = next((n for n, item in enumerate(items) if "\n" in str(item)), -1)
    return _tail(" ".join(map(str, items[script + 1 :])))


def _tail(text: str) -> str:
    """The end of a text, where a command's operands are."""
    room = 2 * _ROOM  # there is no other side
    return _line(text if len(text) <= room else f"…{text[1 - room :]}")


def _brief(identity: str) -> str:
    """An image's digest, as long as people need it: `sha256:0123456789ab`."""
    kind, colon, value = identity.rpartition(":")
    return f"{kind}{colon}{value[:12]}"


def _items(old: list[Any], new: list[Any]) -> str:
    """The items that differ between two lists: `["5"] -> ["6"]`, with the one before them."""
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    lists = [items[start : len(items) - end] for items in (old, new)]
    context = old[start - 1 : start]
    texts = [json.dumps([*context, *items], ensure_ascii=False) for items in lists]
    if max(map(len, texts)) <= _ROOM or not all(lists):
        return " -> ".join(_short(text) for text in texts)
    first = [items[0] for items in lists]
    return " -> ".join(_window(*(json.dumps(item, ensure_ascii=False) for item in first)))


def _window(old: str, new: str) -> tuple[str, str]:
    """Two texts from shortly before the first character that differs, to shortly after the last."""
    if max(len(old), len(new)) <= _ROOM:
        return _line(old), _line(new)
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    begin, rest = max(0, start - 20), max(0, end - 20)
    cut = [text[begin : len(text) - rest] for text in (old, new)]
    head, tail = "…" if begin else "", "…" if rest else ""
    first, second = (
        f"{head}{text[: _ROOM - 1]}…" if len(text) > _ROOM else f"{head}{text}{tail}"
        for text in cut
    )
    return _line(first), _line(second)


def _line(text: str) -> str:
    """A text on one line, and not nothing."""
    return text if text and text.isprintable() else json.dumps(text, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= _ROOM else f"{text[: _ROOM - 1]}…"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if text[:1] in ("[", "{") else text
    except ValueError:
        return text


def _common(old: Sequence[Any], new: Sequence[Any]) -> int:
    """How many items two sequences have in common at their beginning."""
    for index, (a, b) in enumerate(zip(old, new, strict=False)):
        if a != b:
            return index
    return min(len(old), len(new))


__all__ = ["MOST", "UNRECORDED", "Change", "changes", "explain", "lost", "places_of", "words"]
