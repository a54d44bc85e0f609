"""Documents of the Task API for tests: whole ones, of which a test changes what it is about."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

CONTAINER: dict[str, Any] = {
    "name": "shapes",
    "description": "Counts shapes",
    "api_version": 1,
    "templates": [
        {
            "identifier": "count",
            "description": "Counts what is in a folder",
            "env": [
                {"name": "DEPTH", "value": "2", "type": "int", "description": "How deep"},
                {"name": "MODE", "value": "fast", "choices": ["fast", "exact"], "adjustable": True},
                {"name": "FORMAT", "value": "csv", "choices": [], "adjustable": False},
            ],
            "inputs": [
                {
                    "name": "shapes",
                    "mounted_path": "/data/shapes",
                    "description": "One folder each",
                    "scale_rule": {
                        "scale_factor": 25,
                        "type": "limit",
                        "mode": "sum",
                        "target_dir": ".",
                        "target_glob": "*",
                        "target_regex": ".*\\.txt",
                    },
                },
                {"name": "model", "mounted_path": "/data/model"},
            ],
            "outputs": [{"name": "counts", "mounted_path": "/data/counts"}],
            "command": ["python3", "count.py"],
            "resources": {"limits": {"memory": "64Mi", "cpu": 2}, "requests": {"memory": "1k"}},
        },
        {"identifier": "draw", "description": "Draws", "env": [], "inputs": [], "outputs": []},
    ],
}
TASK: dict[str, Any] = {
    "name": "Count them",
    "api_version": 1,
    "image": "{{ custom.registry }}/shapes:1",
    "taskTemplate": "count",
    "env": [{"name": "MODE", "value": "exact"}, {"name": "EXTRA", "value": "1"}],
    "inputs": [
        {"name": "shapes", "volume_source": {"host_path": "/in/shapes"}},
        {"name": "model", "volume_source": {"host_path": "/in/model"}},
    ],
    "outputs": [{"name": "counts", "volume_source": {"host_path": "/out"}}],
    "resources": {"limits": {"memory": "128Mi"}},
    "config": {"type": "docker", "labels": {"team": "a"}},
}


def container(**changes: Any) -> dict[str, Any]:
    """A specification, with these keys changed."""
    return {**copy.deepcopy(CONTAINER), **changes}


def task(**changes: Any) -> dict[str, Any]:
    """A task, with these keys changed."""
    return {**copy.deepcopy(TASK), **changes}


def put(document: dict[str, Any], pointer: str, value: Any) -> dict[str, Any]:
    """A copy of a document with another value at a JSON pointer; `...` takes the key out."""
    changed = copy.deepcopy(document)
    *parents, last = [
        int(part) if part.isdigit() else part for part in pointer.removeprefix("/").split("/")
    ]
    holder: Any = changed
    for part in parents:
        holder = holder[part]
    if value is ...:
        del holder[last]
    elif isinstance(holder, list) and last == len(holder):
        holder.append(value)
    else:
        holder[last] = value
    return changed


def write(path: Path, document: Any) -> Path:
    """A document in a file, a key a line."""
    path.write_text(json.dumps(document, indent=2), "utf-8")
    return path
