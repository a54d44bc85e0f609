"""The JSON Schemas of the two documents, from the same annotations that read them."""

from __future__ import annotations

from typing import Any

from coopery.schemas import schema
from coopery_taskapi.models import ProcessingContainer, Task


def container_schema() -> dict[str, Any]:
    """The schema of `processing-container.json`."""
    return _document(ProcessingContainer, "A processing-container of the Task API")


def task_schema() -> dict[str, Any]:
    """The schema of `task.json`."""
    return _document(Task, "A task of the Task API")


def _document(kind: type, title: str) -> dict[str, Any]:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return {**head, **_templated(schema(kind, nulls=True))}


def _templated(schema: Any) -> Any:
    """The same, where a text may hold what is yet to be filled in."""
    match schema:
        case {"type": "string", "pattern": str() as pattern}:
            return {**schema, "pattern": rf"{pattern}|\{{\{{"}
        case dict():
            return {key: _templated(inner) for key, inner in schema.items()}
        case list():
            return [_templated(inner) for inner in schema]
    return schema
