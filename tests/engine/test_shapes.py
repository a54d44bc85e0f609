"""Raw data read as typed values: unions, and what no dataclass of a recipe knows."""

from __future__ import annotations

from typing import Any

import pytest

from coopery.model import Input, Resources, Scalar
from coopery.shapes import MISSING, convert, reader


@pytest.mark.parametrize("value", [True, 1, 1.5, "x"])
def test_a_union_keeps_the_exact_type(value: Scalar) -> None:
    problems: list[Any] = []
    found = convert(value, Scalar, (), problems)
    assert (type(found), found, problems) == (type(value), value, [])


def test_unions_of_one_set_keep_their_own_order() -> None:
    said = []
    for kind in (str | tuple[str, ...], tuple[str, ...] | str):
        problems: list[Any] = []
        assert convert(3, kind, (), problems) is MISSING
        said.append(problems[0].message)
    assert said[0].startswith("expected text or a list")
    assert said[1].startswith("expected a list or text")


def test_a_reader_serves_many_values_and_tells_each_problem_at_its_key() -> None:
    read = reader(Input)
    problems: list[Any] = []
    assert read("data.csv", ("a",), problems) == Input(path="data.csv")
    assert read({"from": "fit.model"}, ("b",), problems) == Input(origin="fit.model")
    assert problems == []
    assert read(3, ("c",), problems) is MISSING
    assert read({"form": "fit.model"}, ("d",), problems) is MISSING
    assert [(p.slug, p.place.key) for p in problems] == [
        ("wrong-type", ("c",)),
        ("unknown-key", ("d", "form")),
    ]


def test_a_key_that_is_no_text_is_unknown() -> None:
    problems: list[Any] = []
    assert convert({3: 1}, Resources, ("resources",), problems) is MISSING
    assert [(p.slug, p.message) for p in problems] == [("unknown-key", "unknown key 3")]
