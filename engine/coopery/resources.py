"""What this machine has to hand out, and which tasks ask for more than that."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.errors import MachineError, Problem, RecipeError, nearest, problem
from coopery.quantities import parse_quantity, show_bytes
from coopery.recipes import located
from coopery.steps import Step

if TYPE_CHECKING:
    from coopery.forecasting import Forecast
    from coopery.planning import Plan

_BYTES = ("memory", "shm")
_CGROUP = Path("/sys/fs/cgroup")


def capacity(given: Sequence[str]) -> dict[str, float]:
    """How much of each resource there is: this machine's, and `NAME=AMOUNT` as given.

    What is given wins: so a run can be held to less, and resources of one's own have an amount at
    all. Only GPUs are no more than the machine has: they are handed out by number. Raises
    RecipeError (`bad-option`) with every text that says no such thing.
    """
    found = machine()
    texts: dict[str, str] = {}
    problems = []
    for text in given:
        name, equals, amount = text.partition("=")
        try:
            if not (equals and name.replace("-", "_").isidentifier()):
                raise ValueError("expected NAME=AMOUNT")
            if texts.setdefault(name, amount) != amount:
                raise ValueError(f"{name} is given twice: {texts[name]} and {amount}")
            value = 0.0 if amount.strip() == "0" else parse_quantity(amount)
            if not value and name in ("cpu", "memory"):
                raise ValueError("nothing runs without any")
            found[name] = min(value, found[name]) if name == "gpu" else value
        except ValueError as error:
            message = f"--capacity {text}: {error}"
            hint = "write it as --capacity license=1"
            problems.append(Problem(slug="bad-option", message=message, hint=hint))
    if problems:
        raise RecipeError(*problems)
    return found


def machine() -> dict[str, float]:
    """Cores, bytes of memory and of shared memory, and GPUs of this machine or container."""
    cores = float(len(os.sched_getaffinity(0)))
    match _words(_CGROUP / "cpu.max"):
        case [quota, period] if quota != "max":
            cores = min(cores, int(quota) / int(period))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        match _words(_CGROUP / limit):
            case [size] if size != "max":
                memory = min(memory, int(size))
    return {
        "cpu": cores,
        "memory": float(memory),
        "shm": _shared_memory(),
        "gpu": _gpus(),
    }


def _gpus() -> float:
    """How many there are; one where the system does not tell how many."""
    if os.path.exists("/dev/dxg"):  # noqa: PTH110 - in the Linux of Windows
        return 1.0
    return float(sum(path.name[6:].isdigit() for path in Path("/dev").glob("nvidia*")))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").split()
    except OSError:  # not this kind of control group, or none
        return []


def _shared_memory() -> float:
    try:
        status = os.statvfs("/dev/shm")
    except FileNotFoundError:
        return 0.0
    return float(status.f_frsize * status.f_blocks)


def check(steps: Iterable[Step], available: Mapping[str, float]) -> list[Problem]:
    """A problem (`never-fits`, `unknown-resource`) for each wish that can never be fulfilled.

    Instances of one task ask for the same: it is said once.
    """
    found: dict[Problem, None] = {}
    for step in steps:
        for name, amount in step.resources.items():
            key = (*step.key_path, "resources", name)
            if name not in available:
                message = f"nobody said how much {name!r} there is"
                near = nearest(name, available) or ""
                hint = f"say it with --capacity {name}=1"
                if near.startswith("did you mean"):
                    hint = f"{near} else {hint}"
                found[problem("unknown-resource", message, key=key, hint=hint)] = None
            elif amount > available[name]:
                wanted, there = show(name, amount), show(name, available[name])
                message = f"it asks for {wanted} {name}, and there is {there}"
                hint = "ask for less, or run it where there is more"
                if name == "gpu":
                    hint += "; --capacity adds no GPU to a machine"
                found[problem("never-fits", message, key=key, hint=hint)] = None
    return list(found)


def require(
    plan: Plan, available: Mapping[str, float], foretell: Callable[[], Iterable[Forecast]]
) -> None:
    """Refuse what can never fit; what is remembered needs no resources, so it is foretold first.

    Raises RecipeError (`unknown-resource`), and MachineError (`never-fits`).
    """
    if not check((plan.steps[name] for name in plan.selected), available):
        return
    may_run = {f.step for f in foretell() if f.verdict != "cached"} & plan.selected
    found = check((step for name, step in plan.steps.items() if name in may_run), available)
    if found:
        unknown = any(p.slug == "unknown-resource" for p in found)
        kind = RecipeError if unknown else MachineError
        raise kind(*(located(p, plan.recipe.locate) for p in found))


def show(name: str, amount: float) -> str:
    """An amount for people."""
    return show_bytes(amount) if name in _BYTES else f"{amount:g}"
