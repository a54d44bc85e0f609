"""`run --shell`: a shell where a task would run."""

from __future__ import annotations

import sys

from coopery.commands import Context
from coopery.errors import Problem, RecipeError
from coopery.opening import Request
from coopery.visiting import visit


def open_shell(context: Context, request: Request) -> int:
    """Open it; the shell's exit code. Raises RecipeError (`bad-command-line`, `no-terminal`)."""
    arguments = context.arguments
    flags = ("dry_run", "only", "needs_only", "downstream", "force", "force_all", "json")
    others = [f"--{flag.replace('_', '-')}" for flag in flags if getattr(arguments, flag)]
    if others:
        message = f"--shell and {others[0]} do not go together"
        raise RecipeError(Problem(slug="bad-command-line", message=message, hint="use one of them"))
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        message = "--shell wants a terminal"
        hint = "stdin, stdout and stderr must be one, not a pipe or a file"
        raise RecipeError(Problem(slug="no-terminal", message=message, hint=hint))
    return visit(request, context.plugins, context.settings)
