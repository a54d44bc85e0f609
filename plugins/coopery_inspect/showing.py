"""`show`: the record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coopery.commands import Context, table
from coopery.quantities import show_bytes
from coopery.run_files import meant_run
from coopery_inspect import summaries

HEADER = ("STEP", "STATE", "CACHED", "TOOK", "EXIT", "MEMORY", "KEY")


def run(context: Context) -> int:
    """Show the run that is named, else the recipe's latest, else the latest of all."""
    document = meant_run(context, context.arguments.run)
    context.answer(document, _text(document))
    return 0


def _text(document: Mapping[str, Any]) -> str:
    lives = summaries.lives(document)
    facts = [
        ("run", document["run"]),
        ("recipe", document["recipe"]),
        ("runtime", document["runtime"]),
        ("targets", ", ".join(document["targets"]) or "all"),
        ("state", summaries.state(document)),
    ]
    if document.get("started"):
        facts.append(("started", document["started"]))
        facts.append(("took", summaries.took(document, lives=lives)))
    if document.get("story"):
        facts.append(("story", document["story"]))
    if document.get("steps"):
        facts.append(("steps", summaries.counted(document)))
    parts = [table([(f"{name}:", value) for name, value in facts])]
    steps = document.get("steps", [])
    if steps:
        parts.append(table([_row(step, lives=lives) for step in steps], HEADER))
    details = [line for step in steps for line in _details(step)]
    if details:
        parts.append("\n".join(details))
    return "\n\n".join(parts)


def _row(step: Mapping[str, Any], *, lives: bool) -> tuple[str, ...]:
    facts = step["facts"]
    exit_code, memory = facts.get("exit_code"), facts.get("peak_memory")
    return (
        step["step"],
        step["state"],
        "yes" if step["cached"] else "-",
        summaries.took(step, lives=lives),
        "-" if exit_code is None else str(exit_code),
        "-" if memory is None else show_bytes(memory),
        step["key"][:12] or "-",
    )


def _given(name: str, secret: Mapping[str, Any]) -> str:
    """A secret of a task by its names: `TOKEN (API_TOKEN, as a variable)`."""
    rotation = "" if secret["rotation"] is None else f", rotation {secret['rotation']}"
    return f"{name} ({secret['secret']}, as a {secret['as']}{rotation})"


def _details(step: Mapping[str, Any]) -> list[str]:
    """What a step's row does not say: why it ran, its notes, what went wrong, its log."""
    lines = []
    if "waiting" in step:
        lines.append(f"  waiting: {step['waiting']}")
    reason = step["reason"]
    if reason and not step["cached"]:
        lines.append(f"  because: {reason['text']}")
    if step.get("secrets"):
        lines.append(f"  secrets: {', '.join(_given(*item) for item in step['secrets'].items())}")
    if step["notes"]:
        lines.append(f"  notes: {', '.join(step['notes'])}")
    for problem in step["problems"]:
        lines += [f"  {line}" for line in problem["message"].splitlines()]
    if step["log"]:
        lines.append(f"  log: {step['log']}")
    return [f"{step['step']}:", *lines] if lines else []
