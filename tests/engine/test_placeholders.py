"""Placeholders inside strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopery.placeholders import Placeholder, fill, parse, render, unparse


def test_cut_at_placeholders() -> None:
    assert parse("a {inputs.x} b") == ("a ", Placeholder("inputs", "x"), " b")
    assert parse("{{not.one}}") == ("{not.one}",)
    assert parse("") == ()


@pytest.mark.parametrize("text", ["{", "{}", "{x}", "{.x}", "{x.}", "a { b", "{a{b.c}"])
def test_a_brace_that_opens_none(text: str) -> None:
    with pytest.raises(ValueError, match="placeholder"):
        parse(text)


def test_filled_in_steps() -> None:
    template = fill(parse("{matrix.a}-{inputs.b}"), {"matrix": {"a": "1"}})
    assert unparse(template) == "1-{inputs.b}"
    with pytest.raises(KeyError):
        fill(parse("{matrix.z}"), {"matrix": {"a": "1"}})


@given(st.text())
def test_a_value_is_never_read_as_a_placeholder(value: str) -> None:
    once = unparse(fill(parse("{params.x}"), {"params": {"x": value}}))
    assert render(parse(once), {}) == value
