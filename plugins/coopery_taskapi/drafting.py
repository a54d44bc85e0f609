"""A first specification from an image that has none, to be completed by whoever knows it (row K9).

An image says by its labels what it is, and by its variables how it is configured: which of them
name folders of data, names tell. Images of the older convention find their data by variables that
are set when they are run, so that their images have none of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from coopery.commands import Context
from coopery.credentials import kind_of
from coopery.formats import Drafted
from coopery.glimpses import Glimpse
from coopery_taskapi.models import check_line, check_variable
from coopery_taskapi.paths import check_mounted

NAME = "processing-container.json"
_OCI = "org.opencontainers.image"
_DESCRIBE = "(say what it does with its data)"
_MACHINE = re.compile(
    r"PATH|HOME|HOSTNAME|TERM|SHELL|USER|PWD|TZ|LANG(UAGE)?|LC_.*|.*_VERSION|.*_SHA256|GPG_KEY"
    r"|PYTHON(UNBUFFERED|DONTWRITEBYTECODE|PATH|HOME|IOENCODING)|VIRTUAL_ENV|DEBIAN_FRONTEND"
    r"|LD_LIBRARY_PATH|LIBRARY_PATH|NVIDIA_.*|CUDA_.*|NV_.*|CONDA_.*|PIP_.*|JAVA_HOME|UV_.*"
)
"""Variables that are about the image's programs, and not about what it is to do."""
_SIDES = {
    "inputs": re.compile(r"(^|_)(IN|INPUTS?|SOURCES?|SRC)(_|$)"),
    "outputs": re.compile(r"(^|_)(OUT|OUTPUTS?|RESULTS?|DEST|DESTINATION)(_|$)"),
}
_SECRET = re.compile(
    r"(^|_)(PASS|PASSWD|PASSWORD|PASSPHRASE|PWD|SECRET|TOKEN|CREDENTIALS?|((API|ACCESS|PRIVATE)_?)KEY)$"
)
"""Names of variables that hold credentials."""
_BRACES = re.compile(r"\{[{%#]")
"""How an expression begins, in a text that was not meant to have any."""
_FOLDER = re.compile(r"_?(DIR|DIRS|DIRECTORY|FOLDER|PATH|ROOT)$")

OLDER = {
    "WORKFLOW_DIR": "/data",
    "BATCH_NAME": "batch",
    "OPERATOR_IN_DIR": "input",
    "OPERATOR_OUT_DIR": "output",
}
"""By these variables, images of the older convention find data and leave results, of each item in
`/WORKFLOW_DIR/BATCH_NAME/ITEM/…`; here one item has a place. The folder is absolute: some programs
put a slash before it, others none."""
_ITEM = f"{OLDER['WORKFLOW_DIR']}/{OLDER['BATCH_NAME']}/item"


@dataclass
class _Draft:
    """A template as it grows, and what is said of it."""

    env: list[dict[str, Any]]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    told: list[str]

    def channel(self, side: str, name: str, path: str) -> bool:
        """Add a channel where there is room for it; whether there was."""
        channels = self.inputs if side == "inputs" else self.outputs
        others = [channel["mounted_path"] for channel in (*self.inputs, *self.outputs)]
        apart = all(
            not f"{path}/".startswith(f"{o}/") and not f"{o}/".startswith(f"{path}/")
            for o in others
        )
        if not apart or name in (channel["name"] for channel in channels):
            return False
        channels.append({"name": name, "mounted_path": path, "description": _DESCRIBE})
        return True


def draft_image(source: str, context: Context) -> Drafted:
    """A specification from an image's labels and variables. Raises MachineError."""
    seen = _look(source, context)
    draft = _Draft(env=[], inputs=[], outputs=[], told=[])
    _add_variables(draft, seen.env)
    return _finished(draft, source, seen)


def draft_legacy(source: str, context: Context) -> Drafted:
    """As `draft_image`, of an image that finds its data by the variables of the older convention.

    Raises MachineError.
    """
    seen = _look(source, context)
    draft = _Draft(env=[], inputs=[], outputs=[], told=[])
    for name, value in OLDER.items():
        about = "Where the data is, as the image expects it"
        setting = {"name": name, "value": value, "description": about, "adjustable": False}
        draft.env.append(setting)
    draft.channel("inputs", "input", f"{_ITEM}/{OLDER['OPERATOR_IN_DIR']}")
    draft.channel("outputs", "output", f"{_ITEM}/{OLDER['OPERATOR_OUT_DIR']}")
    draft.told.append(f"the data of one item is at {_ITEM}: a task runs once for each item")
    _add_variables(draft, {k: v for k, v in seen.env.items() if k not in OLDER})
    return _finished(draft, source, seen)


def _look(source: str, context: Context) -> Glimpse:
    secrets = context.plugins.secrets(context.settings)
    return context.plugins.look_into_image(source, (), context.settings, context.tell, secrets)


def _add_variables(draft: _Draft, env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if _MACHINE.fullmatch(name):
            continue
        if not _is_name(name):
            draft.told.append(f"left out: the variable {name!r}, whose name is none")
            continue
        if _BRACES.search(value):
            draft.told.append(f"left out: the variable {name}, whose braces would be filled in")
            continue
        # What a name calls a secret is left out, however short or plain it is: it goes into a file.
        if kind := kind_of(value, name) or (value and _SECRET.search(name) and "a secret"):
            draft.told.append(f"left out: the variable {name}, which looks like {kind}")
            continue
        setting: dict[str, Any] = {"name": name, "value": value, "description": _DESCRIBE}
        side = _side_of(name, value)
        if side and draft.channel(side, _channel_name(name), value.rstrip("/")):
            setting["description"] = f"Where the channel {_channel_name(name)} is"
            setting |= {"type": "path", "adjustable": False}
        elif kind := _type_of(value):
            setting["type"] = kind
        draft.env.append(setting)


def _is_name(name: str) -> bool:
    try:
        return bool(check_variable(name))
    except ValueError:
        return False


def _side_of(name: str, value: str) -> str | None:
    """Whether a variable names the folder of an input or an output; None for neither."""
    try:
        check_mounted(value)
    except ValueError:
        return None
    return next((side for side, words in _SIDES.items() if words.search(name.upper())), None)


def _channel_name(name: str) -> str:
    bare = _FOLDER.sub("", name.upper()).strip("_.-").lower().replace(".", "-")
    return bare if re.match(r"[a-z_]", bare) else f"channel-{bare}".rstrip("-")


def _type_of(value: str) -> str | None:
    if re.fullmatch(r"[+-]?[0-9]{1,15}", value):
        return "int"
    if re.fullmatch(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+)", value):
        return "float"
    if value.lower() in ("true", "false"):
        return "bool"
    return "path" if value.startswith("/") else None


def _finished(draft: _Draft, source: str, seen: Glimpse) -> Drafted:
    name = next(_names(source, seen.labels))
    about = seen.labels.get(f"{_OCI}.description", "").strip()
    about = _DESCRIBE if not about or _BRACES.search(about) else about
    for side, found in (("inputs", draft.inputs), ("outputs", draft.outputs)):
        if not found:
            draft.told.append(f"no {side} were found: add them, each with a `mounted_path`")
    if not (seen.entrypoint or seen.command):
        draft.told.append("the image runs nothing by itself: add a `command`")
    document = {
        "name": name,
        "description": about,
        "api_version": 1,
        "templates": [
            {
                "identifier": "default",
                "description": about,
                "env": draft.env,
                "inputs": draft.inputs,
                "outputs": draft.outputs,
            }
        ],
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if (count := text.count(_DESCRIBE)) > 0:
        draft.told.append(f"describe it: {count} x {_DESCRIBE}")
    draft.told.append(f"then: coopery validate {NAME}")
    return Drafted(file=NAME, text=text, told=tuple(draft.told))


def _names(source: str, labels: Mapping[str, str]) -> Iterator[str]:
    """What an image may be called: by its label, else by its reference."""
    for name in (labels.get(f"{_OCI}.title", ""), re.split(r"[@:]", source.rpartition("/")[2])[0]):
        try:
            if not _BRACES.search(name):
                yield check_line(name)
        except ValueError:
            continue
    yield "image"
