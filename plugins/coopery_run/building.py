"""The command `build`: make images ahead of the tasks that will need them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from coopery.commands import Context, table
from coopery.errors import MachineError
from coopery.quantities import show_bytes, show_seconds

if TYPE_CHECKING:
    import argparse

    from coopery.session import Done

Step = Mapping[str, Any]
"""What a run's record says of a step."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `build`."""
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="what to build (default: all)")
    parser.add_argument(
        "--force",
        action="store_true",
        help="build all their parts anew, without the engine's cache: with "
        "newer system packages, too",
    )


def run(context: Context) -> int:
    """Build images, and tell by part and layer what that took and how large it is."""
    from coopery.opening import Request
    from coopery.options import LockPolicy
    from coopery.session import build
    from coopery_run import RunOptions

    options = context.settings.get(RunOptions)
    request = Request(
        file=context.arguments.file,
        force=context.arguments.force,
        fail_fast=options.fail_fast,
        capacity=options.capacity,
        priority=options.priority,
        lock=LockPolicy.LOCKED if options.locked else LockPolicy.RENEW,
    )
    done = build(request, context.arguments.images, context.plugins, context.settings)
    context.answer(done.record, "\n\n".join(_reports(done)))
    if done.report.problems:
        raise MachineError(*done.report.problems)
    return done.report.exit_code


def _reports(done: Done) -> Iterator[str]:
    """For each image: its steps, its layers, and what would make it smaller or faster."""
    steps = {step["step"]: step for step in done.record["steps"]}
    for image, made in done.plan.made.items():
        behind = [steps[name] for name in _behind(done, made)]
        rows = [(s["step"], _state(s), _took(s), _size(s["facts"].get("size"))) for s in behind]
        parts = [table(rows, header=(f"IMAGE {image}", "STATE", "TIME", "SIZE"))]
        layers = [layer for s in behind for layer in s["facts"].get("layers", ())]
        if layers:
            found = [
                (
                    _size(layer.get("size")),
                    "cached" if layer.get("cached") else _seconds(layer.get("seconds")),
                    _short(layer["instruction"]),
                )
                for layer in layers
            ]
            parts.append(table(found, header=("SIZE", "TIME", "LAYER")))
        parts += [f"hint: {hint}" for s in behind for hint in s["facts"].get("hints", ())]
        yield "\n".join(parts)


def _behind(done: Done, made: tuple[str, ...]) -> list[str]:
    """These steps and all they need, in the plan's order."""
    found: set[str] = set()
    stack = list(made)
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += done.plan.steps[name].waits_for
    return [name for name in done.plan.steps if name in found]


def _state(step: Step) -> str:
    if step["state"] != "succeeded":
        return str(step["state"])
    return "cached" if step["cached"] else "built"


def _took(step: Step) -> str:
    if step["cached"] or not (step["started"] and step["ended"]):
        return ""
    began, ended = (datetime.fromisoformat(step[name]) for name in ("started", "ended"))
    return show_seconds((ended - began).total_seconds())


def _seconds(seconds: object) -> str:
    return show_seconds(seconds) if isinstance(seconds, int | float) else ""


def _size(size: object) -> str:
    return show_bytes(size) if isinstance(size, int | float) else ""


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:99]}…"
