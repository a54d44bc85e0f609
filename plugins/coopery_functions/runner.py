"""Call one function where a task runs: `runner.py call.json [payload.pkl] [cloudpickle.zip]`.

This file is sent into tasks as it is: the standard library only, Python 3.8 or later. `call.json`
holds `target` (`module:qualname`, or null for a pickled function), `channels` (argument ->
environment variable with its path), `arguments` (argument -> plain value), `offered` (matrix
values) and `secrets` (as channels, of files of secrets), both for functions that ask for them.
Where values travel, it holds `load` (argument -> `json` or `pickle`: what the file says is the
argument) and `returns` (the variable with the path that the function's result is written to, and
how). Ends with 1 when the function raises or a value cannot be read or written, with 0 when it
returns.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import os
import pickle
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Unfit(Exception):
    """A value that cannot be handed over."""


def load(target: str | None, payload: str, library: str) -> Any:
    """The function, by name or out of its pickle."""
    if target is None:
        with library_at(library):
            return pickle.loads(Path(payload).read_bytes())
    module, _, name = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def arguments_of(function: Any, call: dict[str, Any], library: str) -> dict[str, Any]:
    """Every argument: paths of channels or the values they hold, parameters, matrix values."""
    formats = call.get("load", {})
    found: dict[str, Any] = {}
    for name, variable in call["channels"].items():
        path = Path(os.environ[variable])
        found[name] = value_in(path, name, formats[name], library) if name in formats else path
    accepted = inspect.signature(function).parameters
    axes = {axis: value for axis, value in call["offered"].items() if axis in accepted}
    files = {n: Path(os.environ[v]) for n, v in call.get("secrets", {}).items() if n in accepted}
    return {**axes, **files, **call["arguments"], **found}


def value_in(path: Path, name: str, form: str, library: str) -> Any:
    """The value in an input's file; of a folder of instances, each by its coordinates."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if not file.is_dir())
        if any(file.parent == path for file in files):
            raise Unfit(f"the input {name!r} is a folder, which holds no single value")
        parts = [(str(file.parent.relative_to(path)), file) for file in files]
        return {coordinates: value_in(file, name, form, library) for coordinates, file in parts}
    try:
        if form == "json":
            return json.loads(path.read_bytes())
        with library_at(library):
            return pickle.loads(path.read_bytes())
    except Exception as error:
        what = f"the input {name!r} ({path.name}) holds no {form} that can be read here"
        raise Unfit(f"{what}: {type(error).__name__}: {error}") from None


def write_value(value: Any, path: Path, form: str, library: str) -> None:
    """A function's result, as a file."""
    if form == "json":
        check_json(value, "it")
        path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False), encoding="utf-8")
        return
    with library_at(library):
        import cloudpickle

        try:
            content = cloudpickle.dumps(value, protocol=4)
        except Exception as error:
            raise Unfit(f"the result cannot be pickled: {error}") from None
    path.write_bytes(content)


def check_json(value: Any, where: str) -> None:
    """Whether JSON gives the value back; tuples come back as lists."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                kind = type(key).__name__
                raise Unfit(f"the result is no JSON: {where} has the key {key!r} of type {kind}")
            check_json(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            check_json(item, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise Unfit(f"the result is no JSON: {where} is {value}")
    elif not (value is None or isinstance(value, (str, int, float))):
        raise Unfit(f"the result is no JSON: {where} is of type {type(value).__name__}")


@contextmanager
def library_at(library: str) -> Iterator[None]:
    """Within it, the cloudpickle that was sent along can be imported, before any other."""
    sys.path.insert(0, library)
    try:
        yield
    finally:
        sys.path.remove(library)


def complain(error: BaseException) -> None:
    """Print the traceback without the frames of this file."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename == __file__:
        frame = frame.tb_next
    traceback.print_exception(type(error), error, frame)


def main(description: str, *others: str) -> int:
    """Load and call; returns the exit code."""
    files = {Path(other).suffix: other for other in others}
    payload, library = files.get(".pkl", ""), files.get(".zip", "")
    call = json.loads(Path(description).read_text(encoding="utf-8"))
    # As `python -m` does: an image's sources lie in the working folder. This file's folder goes.
    own = str(Path(__file__).parent)
    sys.path[:] = [str(Path.cwd()), *(entry for entry in sys.path if entry != own)]
    try:
        function = load(call["target"], payload, library)
        result = function(**arguments_of(function, call, library))
        if "returns" in call:
            variable, form = call["returns"]
            write_value(result, Path(os.environ[variable]), form, library)
    except Unfit as error:
        print(f"coopery: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        complain(error)
        if isinstance(error, ModuleNotFoundError):
            print(f"coopery: the task's image does not provide {error.name!r}", file=sys.stderr)
        return 1
    if result is not None and "returns" not in call:
        what = f"the function returned {type(result).__name__}, which is not kept"
        mend = 'write it to an output, or give the task one with returns = "json" or "pickle"'
        print(f"coopery: {what}: {mend}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
