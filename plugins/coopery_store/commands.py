"""`coopery cache`: what the home folder holds, what may go, and whether it is whole."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from coopery.commands import Context, table
from coopery.elsewhere import Elsewhere
from coopery.errors import RecipeError, problem
from coopery.quantities import show_bytes
from coopery_store.checking import Check, Damage
from coopery_store.home import has_no_room, machine_errors
from coopery_store.options import Limits, read_limits
from coopery_store.outside import Emptied
from coopery_store.store import HomeStore
from coopery_store.survey import Survey
from coopery_store.sweeping import Swept
from coopery_store.tidying import find_leftovers

_KINDS = {
    "object": "objects",
    "place": "environments",
    "build-env": "build environments",
    "git": "git repositories",
    "bundle": "bundles",
    "metadata": "notes of projects and images",
    "run": "runs",
    "quarantine": "quarantine",
    "memory": "memory",
    "scratch": "scratch",
    "other": "other",
}
_TELL = 2.0
"""Seconds between lines about how far a long check has come."""


def run(context: Context) -> int:
    """Do what `cache`'s argument says. Raises RecipeError (`bad-option`, `bad-command-line`)."""
    arguments = context.arguments
    _check_arguments(arguments)
    home = context.settings.home
    limits = read_limits(
        context.settings,
        home,
        budget=arguments.budget,
        age=arguments.older_than,
        keep_runs=arguments.keep_runs,
        images_budget=arguments.images_budget,
    )
    store = HomeStore(home)
    try:
        match arguments.action:
            case "info":
                return _info(context, store, limits)
            case "gc":
                return _gc(context, store, limits)
            case _:
                return _verify(context, store)
    finally:
        store.close()


def _check_arguments(arguments: Any) -> None:
    allowed = {
        "info": ("budget", "images_budget", "older_than", "keep_runs"),
        "gc": ("budget", "images_budget", "older_than", "keep_runs", "dry_run"),
        "verify": ("repair",),
    }[arguments.action]
    for name in ("budget", "images_budget", "older_than", "keep_runs", "dry_run", "repair"):
        if getattr(arguments, name) not in (None, False) and name not in allowed:
            flag = f"--{name.replace('_', '-')}"
            message = f"cache {arguments.action} does not take {flag}"
            hint = "see coopery cache --help"
            raise RecipeError(problem("bad-command-line", message, hint=hint))


# -- info -----------------------------------------------------------------------------------------


def _info(context: Context, store: HomeStore, limits: Limits) -> int:
    found = store.sweeper.look()
    elsewhere = Elsewhere(context.plugins, context.settings.home)
    would = store.sweeper.sweep(limits, elsewhere, dry_run=True)
    used = {item.path.name: item.used for item in found.of("place")}
    oldest = {kind: min(i.used for i in found.of(kind)) for kind in _KINDS if found.of(kind)}
    newest = {kind: max(i.used for i in found.of(kind)) for kind in oldest}
    document = {
        "home": str(context.settings.home),
        "size": found.size,
        "budget": limits.budget,
        "age": limits.age,
        "keep_runs": limits.keep_runs,
        "kinds": {
            kind: {
                "size": _size(found, kind),
                "count": len(found.of(kind)) if kind in oldest else None,
                "oldest_use": oldest.get(kind),
                "newest_use": newest.get(kind),
            }
            for kind in _KINDS
        },
        "gc_would_free": would.freed,
        "outside": [
            {
                **_outside_document(one),
                "count": len(one.holding.kept),
                **dict(zip(("oldest_use", "newest_use"), _uses(one, used), strict=True)),
            }
            for one in would.outside
        ],
    }
    rows = [
        (
            shown,
            str(len(found.of(kind))) if kind in oldest else "",
            show_bytes(_size(found, kind)),
            _ago(oldest[kind]) if kind in oldest else "",
            _ago(newest[kind]) if kind in newest else "",
        )
        for kind, shown in _KINDS.items()
        if _size(found, kind)
    ]
    for one in would.outside:
        oldest_use, newest_use = _uses(one, used)
        count, size = str(len(one.holding.kept)), show_bytes(one.before)
        oldest_ago, newest_ago = (_ago(t) if t else "" for t in (oldest_use, newest_use))
        rows.append((f"{one.holding.kind} (outside)", count, size, oldest_ago, newest_ago))
    lines = [
        f"home    {context.settings.home}",
        f"size    {show_bytes(found.size)}",
        f"budget  {_show_budget(limits.budget)}",
        *(f"{one.holding.kind:7} {_told_of(one)}" for one in would.outside),
        "",
        table(rows, ("what", "count", "size", "oldest use", "newest use")),
        "",
        _sentence("coopery cache gc would free", would),
        *(_emptied("would free", one) for one in would.outside if one.evicted),
    ]
    context.answer(document, "\n".join(lines))
    return 0


def _size(found: Survey, kind: str) -> int:
    return sum(item.size for item in found.of(kind)) + found.fixed.get(kind, 0)


def _show_budget(budget: float | None) -> str:
    return "none" if budget is None else show_bytes(budget)


def _ago(moment: float) -> str:
    """A time for people: `3m ago`."""
    seconds = max(0, int(time.time() - moment))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return "just now"


def _uses(one: Emptied, used: Mapping[str, float]) -> tuple[float | None, float | None]:
    """When the first and the last of these were used, as far as the home tells."""
    known = [used[kept.key] for kept in one.holding.kept if kept.key in used]
    return min(known, default=None), max(known, default=None)


def _told_of(one: Emptied) -> str:
    """What is outside of the home, where, and how much of it there may be."""
    size = f"{show_bytes(one.before)}; their budget is {_show_budget(one.budget)}"
    if one.unseen:
        return f"{size}; as noted, since nobody could look: {one.unseen}"
    return f"{size}; in {one.holding.where}"


def _outside_document(one: Emptied) -> dict[str, Any]:
    return {
        "kind": one.holding.kind,
        "where": one.holding.where or None,
        "budget": one.budget,
        "before": one.before,
        "after": one.after,
        "evicted": one.evicted,
        "freed": one.freed,
        "in_use": one.in_use,
        "young": one.young,
        "over": one.over,
        "unseen": one.unseen or None,
    }


def _emptied(begin: str, one: Emptied) -> str:
    """What went of what lies outside: `images: freed 1.2 GiB, 3 of 12`."""
    count = f"{one.evicted} of {len(one.holding.kept)}" if one.evicted else ""
    size = show_bytes(one.freed) if one.evicted else "nothing"
    return f"{one.holding.kind}: {begin} {size}" + (f", {count}" if count else "")


# -- gc -------------------------------------------------------------------------------------------


def _gc(context: Context, store: HomeStore, limits: Limits) -> int:
    dry = bool(context.arguments.dry_run)
    if not dry and not os.access(context.settings.home, os.W_OK):
        store.check_writable()  # a full disk, though, is what it is there for
    cleared = 0 if dry else _clear_away(context)
    elsewhere = Elsewhere(context.plugins, context.settings.home)
    swept = store.sweeper.sweep(limits, elsewhere, dry_run=dry)
    swept.cleared += cleared
    document = {
        "dry_run": dry,
        "before": swept.before,
        "after": swept.after,
        "budget": swept.budget,
        "freed": swept.freed,
        "evicted": dict(swept.evicted),
        "in_use": swept.in_use,
        "young": swept.young,
        "cleared": swept.cleared,
        "compacted": swept.compacted,
        "over": swept.over,
        "outside": [_outside_document(one) for one in swept.outside],
    }
    lines = [_sentence("would free" if dry else "freed", swept)]
    then = "it would take" if dry else "the home takes"
    budget = _show_budget(swept.budget)
    lines.append(f"{then} {show_bytes(swept.after)}; the budget is {budget}")
    if swept.cleared:
        lines.append(f"{swept.cleared} leftovers of dead processes cleared away")
    if swept.compacted:
        lines.append(f"the journal is {show_bytes(swept.compacted)} shorter")
    if swept.over:
        stay = f"{swept.in_use} in use, {swept.young} younger than the set age"
        lines.append(f"{show_bytes(swept.over)} over the budget; what stays: {stay}")
    for one in swept.outside:
        lines += _outside_lines(one, dry=dry)
    context.answer(document, "\n".join(lines))
    if not dry and has_no_room(context.settings.home):
        more = "--budget 0 --older-than 0 evicts all that is not in use"
        if limits.budget == 0 and not limits.age:
            more = "it is not the home that fills it"
        context.tell(f"the disk is full still: {more}")
    return 0


def _outside_lines(one: Emptied, *, dry: bool) -> Iterator[str]:
    if one.unseen and not one.evicted:
        yield f"{one.holding.kind}: nobody could look at them: {one.unseen}"
        return
    budget = _show_budget(one.budget)
    takes = f"{'they would take' if dry else 'they take'} {show_bytes(one.after)}"
    yield f"{_emptied('would free' if dry else 'freed', one)}; {takes}; the budget is {budget}"
    if one.over:
        stay = f"{one.in_use} in use, {one.young} younger than the set age"
        yield f"{show_bytes(one.over)} over that budget; what stays: {stay}"
    if one.unseen:
        yield f"{one.holding.kind}: not all could be looked at: {one.unseen}"


def _clear_away(context: Context) -> int:
    """End what killed runs left running, and clear away the rest, as before a run; how many."""
    home = context.settings.home
    with machine_errors(home):
        before = {leftover.path for leftover in find_leftovers(home)}
        if not before:
            return 0
        for found in context.plugins.diagnose(home, context.settings, mend=True, quick=True):
            context.tell(found.text)
        return len(before - {leftover.path for leftover in find_leftovers(home)})


def _sentence(begin: str, swept: Swept) -> str:
    if not swept.evicted:
        return f"{begin} nothing"
    named = sorted((_KINDS[kind], number) for kind, number in swept.evicted.items())
    counts = ", ".join(f"{name} {number}" for name, number in named)
    return f"{begin} {show_bytes(swept.freed)}: {counts}"


# -- verify ---------------------------------------------------------------------------------------


class _Progress:
    """Tells now and then, on stderr, how far a check has come."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._shown = False

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now - self._last < _TELL:
            return
        self._last = now
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            self._shown = True
        else:
            print(text, file=sys.stderr)

    def end(self) -> None:
        """Take away the line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _verify(context: Context, store: HomeStore) -> int:
    repair = bool(context.arguments.repair)
    progress = _Progress()
    try:
        check = store.check(repair=repair, tell=progress)
    finally:
        progress.end()
    left = [damage for damage in check.damages if not damage.mended]
    document = {
        "checked": dict(check.checked),
        "bytes": check.bytes,
        "damages": [_document(damage) for damage in check.damages],
        "whole": not left,
    }
    context.answer(document, "\n".join(_told(check, repair=repair)))
    return 3 if left else 0


def _document(damage: Damage) -> Mapping[str, Any]:
    return {
        "kind": damage.kind,
        "what": damage.what,
        "text": damage.text,
        "mended": damage.mended,
    }


def _told(check: Check, *, repair: bool) -> list[str]:
    counts = ", ".join(f"{what} {number}" for what, number in check.checked.items())
    lines = [f"read {show_bytes(check.bytes)}: {counts}"]
    for damage in check.damages:
        done = " (mended)" if damage.mended else ""
        lines.append(f"damaged: {damage.what}: {damage.text}{done}")
    left = sum(not damage.mended for damage in check.damages)
    if not check.damages:
        lines.append("all is whole")
    elif left and not repair:
        lines.append(f"{left} damaged; --repair sets them aside, so that they are made anew")
    elif left:
        lines.append(f"{left} could not be mended")
    return lines
