"""Errors that name the plugin they come from, and the way to go on without it."""

from __future__ import annotations

import errno
import threading

from coopery.errors import CooperyError, MachineError, Problem, RecipeError


def plugin_error(slug: str, name: str, message: str, *others: str) -> RecipeError:
    """Something about a plugin that shows before it is asked for anything.

    With `others`, doing without any one of them mends it as well.
    """
    ways = " or ".join(f"--without {other}" for other in (name, *others))
    hint = f"uninstall {'one' if others else 'it'}, or go on without it: {ways}"
    return RecipeError(Problem(slug=slug, message=f"plugin {name!r}: {message}", hint=hint))


def bad_answer(plugin: str, hook: str, misfit: str) -> MachineError:
    """A plugin answered a hook with what its callers cannot use."""
    return MachineError(
        Problem(
            slug="bad-answer",
            message=f"plugin {plugin!r} answered {hook} with nonsense: {misfit}",
            hint=f"a defect of the plugin; go on without it: --without {plugin}",
        )
    )


def blame(plugin: str, hook: str, error: BaseException) -> BaseException:
    """What to raise in place of an exception that left a plugin; `error` itself if it may pass.

    Declared errors pass, and an interrupt, which comes to the main thread alone. All else is a
    defect of the plugin, save that a disk may be full.
    """
    match error:
        case CooperyError():
            if error.problems and all(isinstance(p, Problem) for p in error.problems):
                return error
            misfit = f"it raised {type(error).__name__}, which takes Problems"
            return bad_answer(plugin, hook, f"{misfit}: {said(error)}")
        case KeyboardInterrupt() if threading.current_thread() is threading.main_thread():
            return error
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            message = f"plugin {plugin!r} could not write in {hook}: {said(error)}"
            hint = "free some space, then run again: finished work is kept"
            return MachineError(Problem(slug="disk-full", message=message, hint=hint))
    return MachineError(
        Problem(
            slug="plugin-raised",
            message=f"plugin {plugin!r} raised in {hook}: {type(error).__name__}: {said(error)}",
            hint=f"a defect of the plugin; --debug shows where, --without {plugin} does without it",
        )
    )


def said(error: BaseException) -> str:
    """What an exception says of itself, where it can."""
    try:
        return str(error)
    except Exception:
        return "(it cannot say what)"
