"""What images say is kept in the home, and looked at anew where that was damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coopery.glimpses import Glimpse
from coopery_taskapi import specifications

from .documents import CONTAINER

SAID = json.dumps(CONTAINER).encode()


def look(reference: str, paths: Any) -> Glimpse:
    files = dict.fromkeys(paths, SAID)
    return Glimpse(id="sha256:a", source="engine", command=("x",), workdir="/w", files=files)


@pytest.mark.parametrize(
    "change",
    [
        lambda note: {},
        lambda note: [],
        lambda note: {**note, "seen": {}},
        lambda note: {**note, "seen": {**note["seen"], "specification": 5}},
        lambda note: {**note, "seen": {**note["seen"], "specification": "{"}},
        lambda note: {**note, "seen": {**note["seen"], "command": 5}},
        lambda note: {**note, "seen": {**note["seen"], "workdir": 5}},
        None,
    ],
)
def test_a_damaged_note_is_made_anew(tmp_path: Path, change: Any) -> None:
    first = specifications._look("sha256:a", "x:1", tmp_path, look)
    (kept,) = (tmp_path / "specifications").iterdir()
    good = kept.read_bytes()
    kept.write_text(json.dumps(change(json.loads(good))) if change else "[" * 100_000)
    assert specifications._look("sha256:a", "x:1", tmp_path, look) == first
    assert kept.read_bytes() == good


def test_a_good_note_spares_the_image(tmp_path: Path) -> None:
    first = specifications._look("sha256:a", "x:1", tmp_path, look)

    def never(reference: str, paths: Any) -> Glimpse:
        raise AssertionError

    assert specifications._look("sha256:a", "x:1", tmp_path, never) == first
