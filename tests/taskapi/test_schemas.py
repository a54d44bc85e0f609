"""The published schemas say what the readers take, no more and no less where a schema can tell."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from coopery.testing import Project
from coopery_taskapi import reading, schemas, text
from coopery_taskapi.models import ProcessingContainer, Task

from .documents import CONTAINER, TASK, put
from .test_documents import WRONG, WRONG_TASK, faults

BEYOND = {
    # What a JSON Schema cannot tell: names given twice, what refers to another value, patterns
    # with a meaning, and templates.
    *("duplicate-name", "not-a-choice", "bad-mount", "no-template"),
    *("undefined-variable", "bad-expression"),
}
SCHEMAS = {
    ProcessingContainer: schemas.container_schema(),
    Task: schemas.task_schema(),
}


def accepts(kind: type, document: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMAS[kind]).is_valid(document))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_they_are_schemas_that_take_whole_documents(kind: type) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[kind])
    assert accepts(kind, CONTAINER if kind is ProcessingContainer else TASK)


@pytest.mark.parametrize(
    ("kind", "where", "value", "slug"),
    [(ProcessingContainer, w, v, s) for w, v, s, *_ in WRONG]
    + [(Task, w, v, s) for w, v, s, *_ in WRONG_TASK],
)
def test_what_the_reader_refuses_by_form_the_schema_refuses(
    kind: type, where: str, value: Any, slug: str
) -> None:
    document = put(CONTAINER if kind is ProcessingContainer else TASK, where, value)
    told = faults(document, kind)[0][2]
    meaning = ("expected a whole number", "regular expression", "a glob", "`..`", "surrogate")
    if slug in BEYOND or any(word in told for word in meaning):
        return
    assert not accepts(kind, document)


def test_what_is_yet_to_be_filled_in_is_taken() -> None:
    given = put(TASK, "/inputs/0/volume_source/host_path", "{{ custom.registry }}/x")
    given = put(given, "/resources/limits/memory", "{{ custom.memory }}")
    assert accepts(Task, given)
    source = text.read(json.dumps(given).encode(), "t.json")
    reading.check(source, Task, {"registry": "/a", "memory": "5Mi"})


def test_the_command_prints_them(project: Project) -> None:
    assert project.coopery("schema", "task").json == schemas.task_schema()
    assert project.coopery("schema", "processing-container").json == schemas.container_schema()
    unknown = project.coopery("schema", "tsk")
    assert unknown.exit_code == 2 and "did you mean 'task'?" in unknown.stderr
    assert project.coopery("schema", "task", "--record").exit_code == 2
