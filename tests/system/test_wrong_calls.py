"""Calls of a Python recipe that do not fit: each is one problem, with its line and a mend."""

from __future__ import annotations

import pytest

from coopery.testing import Project

MADE = 't = command("a", ["true"], outputs={"o": {}})\n'
CASES = {
    "no name": ("command(run=['true'])", "unnamed-task", "command("),
    "a name that is none": ("command(None, ['true'])", "unnamed-task", "command("),
    "a name that is a list": ("command(['true'])", "wrong-type", "command("),
    "an image's name that is a list": ("i = Image(['a'])", "wrong-type", "Image("),
    "a name twice": ("command('a', ['true'], name='b')", "wrong-call", "RUN"),
    "too many arguments": ("command('a', ['true'], ['x'])", "wrong-call", "inputs=…"),
    "an action twice": ("command('a', ['true'], command=['x'])", "wrong-call", "leave one"),
    "a set, which has no order": ("command('b', {'x'})", "wrong-type", "a list"),
    "an input with too many": ("Input('a', 'b')", "wrong-call", "Input(PATH, origin=…"),
    "an input of Python's own word": (
        "command('b', ['true'], inputs={'x': Input(from_='a.o')})",
        "unknown-key",
        "origin=…",
    ),
    "an output with too many": ("Output('a', 'b')", "wrong-call", "Output(PATH, name=…"),
    "no count": ("Retries()", "wrong-call", "Retries(COUNT"),
    "a resource without a name": ("Resources(2)", "wrong-call", "Resources(cpu=…"),
    "defaults without a name": ("defaults(3)", "wrong-call", "defaults(…)"),
    "inputs that are no table": ("task(inputs=3, name='f')(lambda: 1)", "wrong-type", "a table"),
    "params that are no table": ("task(params=3, name='f')(lambda: 1)", "wrong-type", "a table"),
    "a matrix that is no table": ("task(matrix=3, name='f')(lambda: 1)", "wrong-type", "a table"),
    "a named task as a decorator": ("task('f')(lambda: 1)", "wrong-call", "@task(name='f')"),
    "no output": ("t.output()", "wrong-call", "output(NAME"),
    "an unknown output": (
        "command('b', ['true'], inputs={'x': t.output('p')})", "unknown-channel", "o"
    ),
    "a handle's attribute": ("t.outptu('o')", "recipe-raised", "'output'"),
    "coopery's attribute": ("coopery.imge()", "recipe-raised", "'Image'"),
    "coopery's name": ("from coopery import tsk", "recipe-raised", "'task'"),
    "a name": ("comand('b', ['true'])", "recipe-raised", "'command'"),
    "a parameter that only Python knows": (
        "command('b', ['true'], params={'x': object()})", "param-not-plain", "text, numbers"
    ),
    "what holds itself": (
        "d = {}; d['d'] = d; command('b', ['true'], params=d)", "wrong-value", "themselves"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_is_one_problem_with_its_line_and_a_mend(project: Project, name: str) -> None:
    call, slug, said = CASES[name]
    project.write("recipe.py", f"import coopery\nfrom coopery import *\n{MADE}{call}\n")
    answer = project.coopery("run")
    assert answer.exit_code == 2, answer.stderr
    assert answer.slugs == (slug,), answer.stderr
    assert "recipe.py:4" in answer.stderr
    message, _, hint = answer.stderr.partition("\n  hint: ")
    assert said in hint
    assert "site-packages" not in message and "Traceback" not in message


def test_what_the_recipe_itself_raises_keeps_its_words(project: Project) -> None:
    project.write("recipe.py", "raise TypeError('mine')\n")
    answer = project.coopery("run")
    assert answer.exit_code == 2
    assert "recipe.py:1: the recipe raised TypeError: mine [recipe-raised]" in answer.stderr


def test_without_a_recipe_a_wrong_call_is_a_type_error() -> None:
    from coopery import Input, Retries

    with pytest.raises(TypeError, match="count"):
        Retries()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="orgin"):
        Input(orgin="a.o")
