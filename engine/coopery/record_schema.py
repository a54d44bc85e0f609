"""The JSON Schema of a run's record, as `coopery show --json` answers it, in every state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coopery.steps import State

Schema = dict[str, Any]

SCHEMA = 2
"""The record's format, raised when a reader would misread a new one."""

_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_TIME: Schema = {"type": "string", "format": "date-time"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_ROTATION: Schema = {"type": ["string", "integer", "null"]}
_ENDED = ("ended", "interrupted")


def schema() -> Schema:
    """The schema. Keys that it does not name may be there: a reader passes over them."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The record of a coopery run",
        "description": "Keys that are not named here may be added without raising `schema`.",
        **_object(_run(), optional=("home", "story", "ended", "exit_code")),
        "if": {"properties": {"state": {"enum": list(_ENDED)}}},
        "then": {"required": ["ended", "exit_code"]},
        "else": {"properties": {"ended": False, "exit_code": False}},
    }


def _said(meaning: str, of: Mapping[str, Any]) -> Schema:
    return {"description": meaning, **of}


def _maybe(of: Mapping[str, Any]) -> Schema:
    return {"anyOf": [of, {"type": "null"}]}


def _object(properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": dict(properties)}


def _mapping(of: Schema | None = None) -> Schema:
    return {"type": "object"} if of is None else {"type": "object", "additionalProperties": of}


def _run() -> dict[str, Schema]:
    states = ["running", *_ENDED, "killed"]
    commit = _object({"commit": _TEXT, "dirty": {"type": "boolean"}})
    return {
        "schema": _said("the version of this format", {"const": SCHEMA}),
        "run": _said("the run's id: UTC time and random digits; ids sort by time", _TEXT),
        "home": _said("only in a run file: the home folder that the run is in", _TEXT),
        "recipe": _said("the recipe's absolute path", _TEXT),
        "runtime": _said("where tasks ran", _TEXT),
        "targets": _said("what was asked for, as it was called; none, for all", _TEXTS),
        "state": _said("killed: its process died before its end", {"enum": states}),
        "exit_code": _said("of the run, whatever --exit-code says", {"enum": [0, 1, 2, 3, 130]}),
        "started": _said("in UTC", _TIME),
        "ended": _said("in UTC", _TIME),
        "story": _said("of a run that was detached: the file that tells its story", _TEXT),
        "source": _said("the project's commit, and whether files differ from it", _maybe(commit)),
        "supplied": _said(
            "results that were taken as they are, of tasks that were not selected",
            {"type": "array", "items": _supplied()},
        ),
        "steps": _said("in the order of the plan", {"type": "array", "items": _step()}),
    }


def _supplied() -> Schema:
    return _object(
        {
            "step": _said("its name", _TEXT),
            "key": _said("what its result is remembered under", _TEXT),
            "made_by": _said("the run that made the result; empty if unknown", _TEXT),
            "stale": _said("whether it would come out different now", {"type": "boolean"}),
        }
    )


def _step() -> Schema:
    states = ["pending", "running", *map(str, State)]
    reason = _object({"code": _TEXT, "text": _TEXT})
    output = _object(
        {
            "digest": _said("of its contents; the key, for a result in place", _TEXT),
            "kind": {"enum": ["file", "folder", "place"]},
            "size": _said("in bytes", {"type": "integer", "minimum": 0}),
        }
    )
    told = _object({"slug": _TEXT, "message": _TEXT})
    always = {
        "step": _said("its name; of a task, the instance's", _TEXT),
        "kind": _said("task, or the kind of other work such as a wheel", _TEXT),
        "state": _said("pending and running only while the run is under way", {"enum": states}),
        "cached": _said("whether the result was remembered", {"type": "boolean"}),
        "key": _said("what its result is remembered under; empty if unknown", _TEXT),
        "made_by": _said("the run that made the result", _TEXT),
        "reason": _said("why it ran, or did not", _maybe(reason)),
        "needs": _said("the steps that it reads from", _TEXTS),
        "outputs": _said("by name", _mapping(output)),
        "started": _said("when it was performed; null if it was not", _maybe(_TIME)),
        "ended": _said("null if it was not performed to its end", _maybe(_TIME)),
        "log": _said("the file with all that it printed", _MAYBE_TEXT),
        "notes": _said("such as unpinned, for a task without an image", _TEXTS),
        "problems": _said("what went wrong", {"type": "array", "items": told}),
        "facts": _said("such as exit_code, and peak_memory in bytes", _mapping()),
    }
    for_now = {
        "waiting": _said("what it waits for just now: resources, or another run's result", _TEXT),
    }
    given = _object(
        {
            "secret": _said("the secret's name", _TEXT),
            "as": {"enum": ["file", "variable"]},
            "rotation": _said("which one of its values, as the recipe counts", _ROTATION),
        }
    )
    of_a_task = {
        "command": _said("of a task, with placeholders for its channels", _TEXT),
        "params": _said("of a task", _mapping()),
        "coords": _said("of a task: its place in the matrix", _mapping()),
        "resources": _said(
            "what a task asks for, by name: cpu in cores, memory and shm in bytes",
            _mapping({"type": "number"}),
        ),
        "secrets": _said(
            "of a task that is given any, by the name it knows them by: names, never values",
            _mapping(given),
        ),
    }
    return _object({**always, **for_now, **of_a_task}, optional=(*for_now, *of_a_task))
