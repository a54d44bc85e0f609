"""Call one function where a task runs: `python runner.py call.json [payload.pkl cloudpickle.zip]`.

This file is sent into tasks as it is: the standard library only, Python 3.8 or later. `call.json`
holds `target` (`module:qualname`, or null for a pickled function), `channels` (argument ->
environment variable with its path), `arguments` (argument -> plain value), `offered` (matrix
values) and `secrets` (as channels, of files of secrets), both for functions that ask for them. Ends
with 1 when the function raises, with 0 when it returns.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import Any


def load(target: str | None, payload: str, library: str) -> Any:
    """The function, by name or out of its pickle."""
    if target is None:
        sys.path.insert(0, library)
        try:
            return pickle.loads(Path(payload).read_bytes())
        finally:
            sys.path.remove(library)
    module, _, name = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def arguments_of(function: Any, call: dict[str, Any]) -> dict[str, Any]:
    """Every argument: paths of channels, parameters, matrix values."""
    paths = {name: Path(os.environ[variable]) for name, variable in call["channels"].items()}
    accepted = inspect.signature(function).parameters
    axes = {axis: value for axis, value in call["offered"].items() if axis in accepted}
    files = {n: Path(os.environ[v]) for n, v in call.get("secrets", {}).items() if n in accepted}
    return {**axes, **files, **call["arguments"], **paths}


def complain(error: BaseException) -> None:
    """Print the traceback without the frames of this file."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename == __file__:
        frame = frame.tb_next
    traceback.print_exception(type(error), error, frame)


def main(description: str, payload: str = "", library: str = "") -> int:
    """Load and call; returns the exit code."""
    call = json.loads(Path(description).read_text(encoding="utf-8"))
    # As `python -m` does: an image's sources lie in the working folder. This file's folder goes.
    own = str(Path(__file__).parent)
    sys.path[:] = [str(Path.cwd()), *(entry for entry in sys.path if entry != own)]
    try:
        function = load(call["target"], payload, library)
        result = function(**arguments_of(function, call))
    except Exception as error:
        complain(error)
        if isinstance(error, ModuleNotFoundError):
            print(f"coopery: the task's image does not provide {error.name!r}", file=sys.stderr)
        return 1
    if result is not None:
        what = f"the function returned {type(result).__name__}"
        print(f"coopery: {what}, which is not kept: write it to an output", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
