"""Raw data read as typed values: unions, and what no dataclass of a recipe knows."""

from __future__ import annotations

from typing import Any

import pytest

from coopery.model import Input, Output, Resources, Retries, Scalar
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
    assert convert({3: 1}, Output, ("outputs", "o"), problems) is MISSING
    assert [(p.slug, p.message) for p in problems] == [("unknown-key", "unknown key 3")]


def test_the_rest_of_the_keys_have_a_home() -> None:
    problems: list[Any] = []
    found = convert({"cpu": "500m", "license": 1, "tape_drives": "2"}, Resources, (), problems)
    assert found == Resources(cpu=0.5, others={"license": 1.0, "tape_drives": 2.0})
    assert found.amounts == {"cpu": 0.5, "license": 1.0, "tape_drives": 2.0}
    assert problems == []
    for wrong in ({3: 1}, {"a b": 1}, {"license": "many"}, {"license": -1}):
        assert convert(wrong, Resources, ("resources",), problems) is MISSING
    assert [(p.slug, p.place.key[-1]) for p in problems] == [
        ("wrong-value", 3),
        ("wrong-value", "a b"),
        ("wrong-value", "license"),
        ("wrong-value", "license"),
    ]


def test_retries_are_a_number_or_a_table() -> None:
    problems: list[Any] = []
    assert convert(3, Retries, (), problems) == Retries(count=3)
    found = convert(
        {"count": 5, "delay": "1s", "longest": 5, "on": [75, "timeout"]}, Retries, (), problems
    )
    assert found == Retries(count=5, delay=1.0, longest=5.0, on=(75, "timeout"))
    assert [found.wait(n) for n in range(1, 6)] == [1, 2, 4, 5, 5]
    assert found.wait(10**9) == 5 and Retries(count=1).wait(1) == 0
    assert problems == []
    wrong = {"count": -1, "factor": 0.5, "delay": "soon", "on": ["timout", 0], "off": 1}
    assert convert(wrong, Retries, ("retries",), problems) is MISSING
    assert sorted(p.place.key[1] for p in problems) == [
        "count",
        "delay",
        "factor",
        "off",
        "on",
        "on",
    ]
    assert [p.hint for p in problems if p.slug == "unknown-value"] == ["did you mean 'timeout'?"]
