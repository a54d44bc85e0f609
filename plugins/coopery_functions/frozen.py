"""Functions that were pickled elsewhere, as bundles hold them: a description and three files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from coopery.errors import KeyPath, Problem, RecipeError, problem

if TYPE_CHECKING:
    import types

    from coopery.dependencies import Aux, Frozen
    from coopery.model import Recipe, Task
    from coopery_functions.reach import Reach


@dataclass(frozen=True, kw_only=True)
class Pickled:
    """A function that another machine pickled, by the files of the bundle that hold it.

    `accepts` are the names of its arguments, `shown` its own.
    """

    shown: str
    payload: str
    library: str
    runner: str
    accepts: tuple[str, ...] = ()

    needs_python: ClassVar[bool] = True

    @property
    def files(self) -> dict[str, str]:
        """The files by the names under which a task sees them."""
        return {"payload.pkl": self.payload, "cloudpickle.zip": self.library}


def check_pickled(recipe: Recipe, pickled: Pickled, key: KeyPath) -> Iterable[Problem]:
    """Its files are there, beneath the folder of the recipe."""
    for path in (pickled.runner, *pickled.files.values()):
        try:
            _read(recipe, path)
        except (OSError, ValueError) as error:
            hint = "fetch it anew: only bundles hold such functions"
            message = f"the file {path!r} of the function cannot be read: {error}"
            yield problem("bundle-damaged", message, key=key, hint=hint)


def auxiliary(recipe: Recipe, pickled: Pickled, call: Aux) -> tuple[Aux, ...]:
    """The files of a call: all that came from elsewhere enters the key as what it is."""
    import hashlib

    from coopery.dependencies import Aux

    def taken(name: str, path: str) -> Aux:
        content = _read(recipe, path)
        return Aux(name=name, content=content, keyed=hashlib.sha256(content).hexdigest())

    files = (taken(name, path) for name, path in pickled.files.items())
    return (taken("runner.py", pickled.runner), call, *files)


def _read(recipe: Recipe, path: str) -> bytes:
    from coopery.files import beneath

    return beneath(recipe.file.parent, path).read_bytes()


def freeze(recipe: Recipe, task: Task, target: Callable[..., Any] | str, reach: Reach) -> Frozen:
    """A task's function without its project: by name where its image has it, else pickled.

    Raises RecipeError where it cannot be pickled.
    """
    import inspect

    from coopery.dependencies import Frozen
    from coopery.portable import portable
    from coopery_functions import payload

    if isinstance(target, str):
        return Frozen(keys={"function": target})
    if reach.provides(target):
        return Frozen(keys={"function": f"{target.__module__}:{target.__qualname__}"})
    try:
        _, content = payload.by_value(cast("types.FunctionType", target), reach)
    except payload.Unsendable as error:
        raise RecipeError(error.problem(("task", task.name, "function"))) from None
    content = portable(content, Path(recipe.root))
    files = {
        _path(content, "pkl"): content,
        _path(payload.library(), "zip"): payload.library(),
        _path(payload.runner(), "py"): payload.runner(),
    }
    pickle, library, runner = files
    keys = {
        "shown": target.__qualname__,
        "payload": pickle,
        "library": library,
        "runner": runner,
        "accepts": list(inspect.signature(target).parameters),
    }
    return Frozen(keys={"pickled": keys}, files=files)


def freeze_again(recipe: Recipe, pickled: Pickled) -> Frozen:
    """A function of a bundle, for another one."""
    from coopery.dependencies import Frozen

    # In the order of `freeze`: the same tasks are the same bytes.
    paths = {"payload": pickled.payload, "library": pickled.library, "runner": pickled.runner}
    keys = {"shown": pickled.shown, **paths, "accepts": list(pickled.accepts)}
    files = {path: _read(recipe, path) for path in paths.values()}
    return Frozen(keys={"pickled": keys}, files=files)


def _path(content: bytes, ending: str) -> str:
    import hashlib

    return f"payload/{hashlib.sha256(content).hexdigest()[:32]}.{ending}"
