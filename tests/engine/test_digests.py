"""The canonical encoding keeps apart what differs and joins what is equal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from coopery.digests import digest
from coopery.model import Image, Resources


def test_types_stay_apart() -> None:
    values = [1, 1.0, "1", True, None, b"1", [1], {"1": 1}, {1: 1}, {1}, "", [], {}]
    assert len({digest(value) for value in values}) == len(values)


def test_order_of_a_mapping_does_not_matter() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) == digest((1, 2))
    assert digest([1, 2]) != digest([2, 1])


def test_dataclasses_by_name_and_keyed_fields() -> None:
    assert digest(Image(name="a")) == digest(Image(name="a", description="unkeyed"))
    assert digest(Image(name="a")) != digest(Image(name="b"))
    assert digest(Resources(cpu=1.0)) != digest(Resources(memory=1.0))


def test_no_canonical_form() -> None:
    with pytest.raises(TypeError):
        digest(object())
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def test_equal_in_every_process() -> None:
    code = "from coopery.digests import digest; print(digest({'a': {'x', 'y', 'z'}, 'b': 1.5}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(found) == 1
