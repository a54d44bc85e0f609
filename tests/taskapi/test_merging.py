"""A task and its template as one (row K3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coopery.errors import RecipeError
from coopery_taskapi import reading, text
from coopery_taskapi.merging import TaskInstance, merge, template_of
from coopery_taskapi.models import ProcessingContainer, Task

from .documents import CONTAINER, TASK, put, task


def merged(container: dict[str, Any] = CONTAINER, given: dict[str, Any] = TASK) -> TaskInstance:
    content = json.dumps(container).encode()
    known = reading.check(text.read(content, "pc.json"), ProcessingContainer, {}).document
    source = text.read(json.dumps(given, indent=1).encode(), "t.json")
    read = reading.check(source, Task, {"registry": "here"})
    return merge(read, template_of(read, known))


def problems(container: dict[str, Any] = CONTAINER, **changes: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(RecipeError) as raised:
        merged(container, task(**changes))
    return [(p.slug, p.place.shown_key, str(p)) for p in raised.value.problems]


def test_variables_by_name_in_the_templates_order() -> None:
    env = merged().env
    assert [(s.name, s.value, s.source, s.default) for s in env] == [
        ("DEPTH", "2", "template", None),
        ("MODE", "exact", "task", "fast"),
        ("FORMAT", "csv", "template", None),
        ("EXTRA", "1", "task", None),
    ]


def test_channels_by_name_in_the_templates_order() -> None:
    swapped = {**TASK, "inputs": list(reversed(TASK["inputs"]))}
    assert [(c.name, c.host_path, c.mounted_path) for c in merged(given=swapped).inputs] == [
        ("shapes", "/in/shapes", "/data/shapes"),
        ("model", "/in/model", "/data/model"),
    ]


def test_resources_by_quantity() -> None:
    found = merged()
    stated = [
        (kind, name, amount.value, amount.source)
        for kind, amounts in (("limits", found.limits), ("requests", found.requests))
        for name, amount in amounts.items()
    ]
    assert stated == [
        ("limits", "memory", 128 * 2**20, "task"),
        ("limits", "cpu", 2.0, "template"),
        ("requests", "memory", 1000.0, "template"),
    ]


@pytest.mark.parametrize(
    ("given", "of_template", "command", "source"),
    [
        (["a"], ["b"], ("a",), "task"),
        (None, ["b"], ("b",), "template"),
        (None, None, None, "image"),
        ([], ["b"], (), "task"),
    ],
)
def test_the_command_is_replaced(given: Any, of_template: Any, command: Any, source: str) -> None:
    container = put(CONTAINER, "/templates/0/command", of_template)
    found = merged(container, task(command=given))
    assert (found.command, found.command_source) == (command, source)


def test_a_rule_of_the_task_takes_the_place_of_the_templates() -> None:
    rule = {"scale_factor": 0.5, "type": "request", "mode": "max_file_size"}
    found = merged(given=put(TASK, "/inputs/0/scale_rule", rule)).inputs[0]
    assert found.scale_rule is not None
    assert (found.scale_rule.mode, found.rule_source) == ("max_file_size", "task")
    kept = merged().inputs[0]
    assert kept.scale_rule is not None
    assert (kept.scale_rule.scale_factor, kept.rule_source) == (25.0, "template")


def test_all_that_does_not_fit_at_once() -> None:
    env = [
        {"name": "MODE", "value": "exactly"},
        {"name": "FORMAT", "value": "json"},
        {"name": "DEPTH", "value": "deep"},
    ]
    inputs = [{"name": "shape", "volume_source": {"host_path": "/a"}}, TASK["inputs"][1]]
    found = problems(env=env, inputs=inputs, outputs=[])
    assert [(slug, pointer) for slug, pointer, _ in found] == [
        ("not-a-choice", "/env/0/value"),
        ("not-adjustable", "/env/1/value"),
        ("wrong-value", "/env/2/value"),
        ("unknown-channel", "/inputs/0/name"),
        ("unbound-channel", "/inputs"),
        ("unbound-channel", "/outputs"),
    ]
    told = "\n".join(said for *_, said in found)
    for word in ("'exact'", "it is 'csv'", "of type int", "'shapes'?"):
        assert word in told
    assert all(said.startswith("t.json:") for *_, said in found)


def test_an_empty_list_of_choices_restricts_nothing() -> None:
    container = put(CONTAINER, "/templates/0/env/2/adjustable", True)
    found = merged(container, task(env=[{"name": "FORMAT", "value": "anything"}]))
    assert [s.value for s in found.env if s.name == "FORMAT"] == ["anything"]


def test_an_unknown_identifier_lists_those_there_are() -> None:
    ((slug, pointer, told),) = problems(taskTemplate="cuont")
    assert (slug, pointer) == ("unknown-template", "/taskTemplate")
    assert "did you mean 'count'?" in told and "There is: count, draw" in told


def test_a_template_of_its_own_needs_no_specification() -> None:
    own = {"identifier": "mine", "description": "x", "command": ["true"]}
    given = task(taskTemplate=own, env=[], inputs=[], outputs=[], resources=None)
    found = merged(given=given)
    assert (found.identifier, found.command, found.command_source) == (
        "mine",
        ("true",),
        "template",
    )
