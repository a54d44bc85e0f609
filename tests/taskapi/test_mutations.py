"""Documents changed at random: only declared errors, whatever they hold.

`COOPERY_MUTATIONS=10000 pytest tests/taskapi/test_mutations.py` is the whole of it (`nox -s fuzz`);
every day a few hundred are tried.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coopery.dependencies import Lock
from coopery.errors import CooperyError
from coopery.glimpses import Glimpse
from coopery.opening import Request, open_recipe
from coopery.options import read_settings
from coopery.plugins import Plugins
from coopery_taskapi import reading, scaling, text
from coopery_taskapi.finding import LABEL
from coopery_taskapi.merging import merge, template_of
from coopery_taskapi.models import ProcessingContainer, Task

from .documents import CONTAINER, TASK, put

MUTATIONS = int(os.environ.get("COOPERY_MUTATIONS", "300"))
INTERESTING = st.sampled_from(
    [
        *("", " ", "/", "//", "..", "../..", "/data", "\0", "a\nb", "\ud800", "é" * 5000),
        *("{{", "{{ env.HOME }}", "{{ custom.registry }}", "{{ custom.x", "{%"),
        *("(", "(?P<a>", "[", "**", "a**", "1Gi", "-1", "1 GB", "lots", "1e99", "9" * 400),
        *("sum", "max_item_sum", "limit", "k8s", "int", "count"),
        *(0, -1, 1, 2, 0.5, -0.0, 1e308, 10**25, True, False, None),
    ]
)
SCALARS = INTERESTING | st.text(max_size=20) | st.integers() | st.floats(allow_nan=False)
VALUES = st.recursive(
    SCALARS,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["name", "env", "inputs", "scale_rule", "mounted_path", "host_path", "value", "type", "a/b~"]
)


def holders(value: Any) -> list[Any]:
    """Every object and array of a document, the outermost first."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    here = [value] if isinstance(value, dict | list) else []
    return here + [found for item in inner for found in holders(item)]


@st.composite
def mutated(draw: Any, document: dict[str, Any]) -> Any:
    """A document in which a few things were replaced, removed, added or doubled."""
    changed: Any = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 4))):
        holder = draw(st.sampled_from(holders(changed) or [{}]))
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        what = draw(st.sampled_from(["replace", "remove", "add", "double"]))
        if what == "add" or not keys:
            value = draw(VALUES)
            holder.append(value) if isinstance(holder, list) else holder.update({draw(KEYS): value})
            continue
        key = draw(st.sampled_from(keys))
        if what == "remove":
            del holder[key]
        elif what == "double" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[key] = draw(VALUES)
    return changed


@st.composite
def scrambled(draw: Any, document: Any) -> bytes:
    """The bytes of a document, of which some may be others."""
    content = bytearray(json.dumps(document, indent=draw(st.sampled_from([None, 1]))).encode())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(content) - 1))
        if draw(st.booleans()):
            content[at] = draw(st.sampled_from(b'{}[]",:\\0-e.\xff\x00 \n'))
        else:
            del content[at : at + draw(st.integers(1, 20))]
        content = content or bytearray(b"{")
    return bytes(content)


def outcome(content: bytes, kind: type[Any]) -> Any:
    """The document, or None after an error that was declared: each problem with slug and mend."""
    try:
        return reading.check(text.read(content, "x.json"), kind, {"registry": "r"})
    except CooperyError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.slug and problem.message and problem.place.file == "x.json"
            str(problem).encode()
        return None


_SETTINGS = settings(
    max_examples=MUTATIONS,
    deadline=5000,  # milliseconds: none may hang
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@_SETTINGS
@given(st.data())
def test_mutated_documents_end_in_declared_errors(tmp_path: Path, data: Any) -> None:
    given_task = put(put(TASK, "/inputs/0/volume_source/host_path", str(tmp_path)),
                     "/inputs/1/volume_source/host_path", "/nowhere")  # fmt: skip
    task = outcome(data.draw(mutated(given_task).flatmap(scrambled)), Task)
    container = outcome(data.draw(mutated(CONTAINER).flatmap(scrambled)), ProcessingContainer)
    known = container.document if container else whole()
    if task is not None:
        try:
            instance = merge(task, template_of(task, known))
            folders = [channel.host_path for channel in (*instance.inputs, *instance.outputs)]
            if all(folder in (str(tmp_path), "/nowhere", "/out") for folder in folders):
                scaling.memory_of(instance)  # of others, all of this machine might be counted
        except CooperyError as error:
            assert all(problem.slug and problem.message for problem in error.problems)


@_SETTINGS
@given(st.data())
def test_mutated_documents_are_refused_before_they_run(tmp_path: Path, data: Any) -> None:
    """As recipes, and together with what an image says: up to the plan of the task."""
    given_task = put(put(TASK, "/inputs/0/volume_source/host_path", str(tmp_path)),
                     "/inputs/1/volume_source/host_path", str(tmp_path))  # fmt: skip
    file = tmp_path / "task.json"
    # Mostly one of the two is right, or only values in it differ: else little would get far.
    file.write_bytes(data.draw(_maybe(given_task)))
    said = data.draw(_maybe(CONTAINER)).decode("utf-8", "surrogateescape")

    def look(reference: str, paths: Sequence[str]) -> Glimpse:
        return Glimpse(id="sha256:0", source="here", labels={LABEL: said}, command=("true",))

    options = read_settings(_PLUGINS.declare_options(), start=tmp_path, environ={})
    try:
        request = Request(file=str(file), sets=("custom.registry=r",))
        opened = open_recipe(request, _PLUGINS, options)
        for node in opened.nodes.values():
            _PLUGINS.plan_task(opened.recipe, node.instance, Lock(), options, look)
    except CooperyError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.slug and problem.message, problem
            str(problem).encode("utf-8", "surrogateescape")


def _maybe(document: Any) -> st.SearchStrategy[bytes]:
    """A document as it is, with other values, or mutated in any way."""
    as_it_is = st.just(json.dumps(document).encode())
    values = mutated(document).map(lambda changed: json.dumps(changed).encode())
    return as_it_is | values | values | mutated(document).flatmap(scrambled)


_PLUGINS = Plugins.discover()


def whole() -> ProcessingContainer:
    source = text.read(json.dumps(CONTAINER).encode(), "pc.json")
    return reading.check(source, ProcessingContainer, {}).document
