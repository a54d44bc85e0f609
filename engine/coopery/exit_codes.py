"""Whose exit code a run ends with: its own, or that of the command of its one task."""

from __future__ import annotations

import signal

from coopery.errors import Problem, RecipeError
from coopery.model import ExitCode
from coopery.planning import Plan
from coopery.running import Report
from coopery.steps import State

OUT_OF_MEMORY = 128 + signal.SIGKILL
"""What counts as the exit code of what was killed for its memory, whatever was left to tell."""
NOT_FOUND = 127
"""What counts as the exit code of a command that could not be started; 126 says something else."""
SKIPPED = 126
"""What counts as the exit code of a task that was skipped because what it needs said so."""


def one_task(plan: Plan, asked: ExitCode | None) -> str | None:
    """The task whose exit code the run is to end with, if it is to.

    Raises RecipeError (`one-task`) where that is asked for, and not one task is to run. Where it
    is only the recipe's default, the run's own is taken then.
    """
    if (asked or plan.recipe.exit_code) is not ExitCode.TASK:
        return None
    found = [name for name in plan.targets if name in plan.selected]
    if len(found) == 1:
        return found[0]
    if asked is None:
        return None
    count = len(found) or "none"
    message = f"--exit-code task wants one task to run; it would be {count}"
    hint = f"name one: {', '.join(found[:3])}" if found else "name one"
    raise RecipeError(Problem(slug="one-task", message=message, hint=hint))


def of_task(report: Report, task: str) -> int:
    """The exit code of a task's command as a shell counts it: a signal is 128 and its number.

    0 if it was remembered. Where it has none, as when it did not come to run, that of the run.
    """
    outcome = report.outcomes[task]
    own = shell_code(outcome.facts.get("exit_code"))
    slugs = [found.slug for found in outcome.problems]
    match outcome.state:
        case _ if report.problems or report.interrupted or outcome.facts.get("machine"):
            return report.exit_code
        case State.SUCCEEDED:
            return 0
        case State.SKIPPED if outcome.reason and outcome.reason.code == "said-so":
            return own or SKIPPED
        case State.SKIPPED if report.exit_code == 0:
            return SKIPPED
        case State.FAILED if "out-of-memory" in slugs:
            return OUT_OF_MEMORY
        case State.FAILED if "command-not-found" in slugs:
            return NOT_FOUND
        case State.FAILED if own:
            return own
    return report.exit_code


def shell_code(exit_code: object) -> int | None:
    """An exit code from a step's facts as a shell counts it; None where there is none."""
    if not isinstance(exit_code, int):
        return None
    return exit_code if exit_code >= 0 else 128 - exit_code
