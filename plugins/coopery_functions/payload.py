"""What is sent with a function task: the pickle, and the library that reads it."""

from __future__ import annotations

import functools
import io
import pickle
import threading
import types
import zipfile
from pathlib import Path

from coopery.errors import KeyPath, Problem, problem
from coopery_functions import pickling
from coopery_functions.canonical import function_digest
from coopery_functions.reach import Reach
from coopery_functions.walking import NoForm

LIMIT = 10 * 2**20
"""The largest pickle that is sent with a task, in bytes."""

_pickling = threading.Lock()  # cloudpickle's register belongs to the whole process


class Unsendable(Exception):
    """A function cannot be sent: `problem(key)` says why."""

    def __init__(self, slug: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.slug, self.hint = slug, hint

    def problem(self, key: KeyPath) -> Problem:
        """It as a problem at this key."""
        return problem(self.slug, str(self), key=key, hint=self.hint)


@functools.lru_cache(maxsize=1024)
def by_value(function: types.FunctionType, reach: Reach) -> tuple[str, bytes]:
    """The function's canonical digest and its pickle. Raises Unsendable."""
    try:
        digest = function_digest(function, reach)
    except NoForm as error:
        trail = ", ".join(error.trail) or function.__qualname__
        raise Unsendable(error.slug, f"{trail}: {error.what}", error.hint) from None
    content = _dump(function, digest, reach)
    if len(content) > LIMIT:
        message = (
            f"function {function.__qualname__} and what it captures take {len(content):,} bytes "
            f"as a pickle; the limit is {LIMIT:,}"
        )
        hint = "keep large data in a file and declare it as an input"
        raise Unsendable("function-too-large", message, hint)
    return digest, content


def _dump(function: types.FunctionType, digest: str, reach: Reach) -> bytes:
    import cloudpickle

    with _pickling:
        known = set(cloudpickle.list_registry_pickle_by_value())
        added = [m for m in reach.modules() if m.__name__ not in known and m.__name__ != "__main__"]
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        try:
            return pickling.dumps(function, digest)
        except RecursionError:
            reason = "what it captures is nested too deeply"
        except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
            reason = str(error)
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)
    message = f"function {function.__qualname__} cannot be pickled: {reason}"
    raise Unsendable("function-unpicklable", message, "make that object inside the function")


@functools.cache
def library() -> bytes:
    """The cloudpickle that pickled, as a zip Python can import from; the same bytes every time."""
    import cloudpickle

    folder = Path(cloudpickle.__file__).parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.glob("*.py")):
            entry = zipfile.ZipInfo(f"cloudpickle/{file.name}", (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
    return buffer.getvalue()


@functools.cache
def runner() -> bytes:
    """The script that calls the function where the task runs."""
    return Path(__file__).with_name("runner.py").read_bytes()
