"""Texts that are filled in after a document is read: values stay values."""

from __future__ import annotations

from typing import Any

import pytest

from coopery_taskapi.templating import Variables, fill

NASTY = 'a"b\\c\n{{ env.OTHER }} {"x": 1} \u2028 é'


def filled(data: Any, **custom: str) -> Any:
    found = fill(data, Variables(env={"USER_NAME": "me", "NASTY": NASTY}, custom=custom))
    assert not found.problems
    return found.data


def test_values_stand_where_they_are_named() -> None:
    data = {"a": ["{{env.USER_NAME}}/{{ custom.x }}", 3, None], "{{ env.USER_NAME }}": True}
    assert filled(data, x="1") == {"a": ["me/1", 3, None], "{{ env.USER_NAME }}": True}


def test_a_value_is_never_read_again_and_changes_no_structure() -> None:
    assert filled({"a": "<{{ env.NASTY }}>"}) == {"a": f"<{NASTY}>"}
    assert filled(["{{ custom.braces }} x }}"], braces="{{") == ["{{ x }}"]


@pytest.mark.parametrize(
    "text",
    [
        "{{ env.__class__.__mro__ }}",
        "{{ env['HOME'] }}",
        "{{ env }}",
        "{{ custom.x() }}",
        "{{ 7 * 7 }}",
        "{{ }}",
        "{{{{ env.USER_NAME }}}}",
        "{# comment #}",
        "{% set x = 1 %}",
    ],
)
def test_nothing_else_is_evaluated(text: str) -> None:
    found = fill([text], Variables(env={"USER_NAME": "me"}, custom={"x": "1"}))
    assert {problem.slug for problem in found.problems} == {"bad-expression"}
    assert {problem.place.key for problem in found.problems} == {(0,)}


def test_which_variables_stood_where_is_known() -> None:
    found = fill({"a": "{{ env.USER_NAME }}{{ custom.x }}"}, Variables(env={"USER_NAME": "me"},
                 custom={"x": ""}))  # fmt: skip
    assert found.names == {("a",): ("env.USER_NAME", "custom.x")}
