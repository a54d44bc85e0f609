"""Plugins that do wrong: named, with the way to go on without them, and results stay true."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coopery.testing import Answer, Project

RECIPE = """
    [task.a]
    command = "echo a > {outputs.o}"
    outputs.o = "a.txt"

    [task.b]
    command = "cat {inputs.i} > {outputs.o}"
    inputs.i = { from = "a.o" }
    outputs.o = "b.txt"
"""
HEAD = """
from coopery.errors import *
from coopery.hooks import hookimpl
"""


def bad(project: Project, source: str, *arguments: str, recipe: str = RECIPE) -> Answer:
    """The answer of a call with a plugin `bad` of this source installed."""
    import textwrap

    project.write("recipe.toml", recipe)
    project.plugin("bad", HEAD + textwrap.dedent(source))
    answer = project.coopery(*(arguments or ("run", "--json")))
    assert "Traceback" not in answer.stderr
    return answer


def mends(project: Project, name: str = "bad") -> None:
    """The way that the hint names leads on."""
    answer = project.coopery("--without", name, "run")
    assert answer.exit_code == 0, answer.stderr
    assert project.read("b.txt") == "a\n"


def states(answer: Answer) -> dict[str, str]:
    return {step["step"]: step["state"] for step in answer.json["steps"]}


def last_record(project: Project) -> dict[str, Any]:
    """The record of the latest run, as it was kept."""
    file = max((project.home / "runs").glob("*/record.json"))
    record: dict[str, Any] = json.loads(file.read_text())
    return record


# -- loading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(4)", "it ends the program (4)"),
    ],
)
def test_one_that_does_not_load(project: Project, source: str, said: str) -> None:
    answer = bad(project, source, "list")
    assert answer.exit_code == 2
    told = answer.told("broken-plugin")
    assert "plugin 'bad'" in told and said in told and "--without bad" in told
    mends(project)


@pytest.mark.parametrize("value", ["bad:nothing", "bad:Answers", "no-such-module"])
def test_an_entry_point_that_leads_nowhere(project: Project, value: str) -> None:
    project.write("recipe.toml", RECIPE)
    project.plugin("bad", "class Answers: pass\n", value=value)
    answer = project.coopery("list")
    assert answer.exit_code == 2
    assert answer.slugs in [("broken-plugin",), ("invalid-plugin",)]
    assert "plugin 'bad'" in answer.stderr and "--without bad" in answer.stderr
    mends(project)


@pytest.mark.parametrize("hook", ["def recipe_nams():", "def recipe_names(folder):"])
def test_a_misspelled_hook_or_argument(project: Project, hook: str) -> None:
    answer = bad(project, f"@hookimpl\n{hook}\n    return []")
    assert answer.exit_code == 2
    told = answer.told("invalid-plugin")
    assert "plugin 'bad': " in told and "--without bad" in told
    mends(project)


def test_a_taken_name(project: Project) -> None:
    project.write("recipe.toml", RECIPE)
    project.plugin("cuckoo", "")
    project.distribution("nest", {"store": "cuckoo"})
    answer = project.coopery("run")
    assert answer.exit_code == 2
    told = answer.told("duplicate-plugin")
    assert "the name of the entry point 'store' is taken: " in told
    assert "coopery_store and cuckoo both bear it" in told
    assert "--without cuckoo" in told
    mends(project, "cuckoo")


TAKEN = {
    "duplicate-command": (
        "from coopery.commands import Command\n"
        "@hookimpl\ndef add_commands():\n"
        "    return [Command(name='run', help='x', run=lambda c: 0)]"
    ),
    "duplicate-facet": (
        "from coopery.recipes import Facet\n"
        "@hookimpl\ndef declare_facets():\n"
        "    return [Facet(noun='image', key='packages', type=str)]"
    ),
    "duplicate-runtime": "@hookimpl\ndef runtime_names():\n    return ['local']",
    "duplicate-option": (
        "from dataclasses import dataclass\n"
        "from coopery.options import option\n"
        "@dataclass(frozen=True)\nclass Mine:\n    jobs: int = option(3, help='x')\n"
        "@hookimpl\ndef declare_options():\n    return [Mine]"
    ),
}


@pytest.mark.parametrize("slug", TAKEN)
def test_what_is_taken_by_another(project: Project, slug: str) -> None:
    answer = bad(project, TAKEN[slug])
    assert answer.exit_code == 2
    told = answer.told(slug)
    assert "plugin 'bad'" in told and "--without bad" in told
    mends(project)


# -- raising --------------------------------------------------------------------------------------

ARGUMENTS = {
    "declare_options": "",
    "add_commands": "",
    "declare_facets": "",
    "recipe_names": "",
    "runtime_names": "",
    "load_recipe": "path",
    "check": "recipe, runtime",
    "plan_task": "instance",
    "open_store": "home",
    "schedule": "execution",
    "diagnose": "home",
    "authorize": "step",
    "perform": "step",
}


@pytest.mark.parametrize("hook", ARGUMENTS)
def test_one_that_raises(project: Project, hook: str) -> None:
    answer = bad(project, f"@hookimpl\ndef {hook}({ARGUMENTS[hook]}):\n    raise KeyError('oops')")
    assert answer.exit_code == 3
    told = f"plugin 'bad' raised in {hook}: KeyError: 'oops'"
    assert told in answer.stderr and "--without bad" in answer.stderr
    assert answer.stderr.count(told) == 1
    mends(project)


@pytest.mark.parametrize("error", ["SystemExit(0)", "GeneratorExit()"])
@pytest.mark.parametrize("hook", ["check", "schedule", "perform"])
def test_one_that_would_end_the_program(project: Project, hook: str, error: str) -> None:
    answer = bad(project, f"@hookimpl\ndef {hook}({ARGUMENTS[hook]}):\n    raise {error}")
    assert answer.exit_code == 3
    assert f"plugin 'bad' raised in {hook}: {error.partition('(')[0]}" in answer.stderr


def test_an_interrupt_of_its_own_fails_its_step(project: Project) -> None:
    answer = bad(project, "@hookimpl\ndef perform(step):\n    raise KeyboardInterrupt")
    assert answer.exit_code == 3
    assert states(answer) == {"a": "failed", "b": "skipped"}
    assert "plugin 'bad' raised in perform: KeyboardInterrupt" in answer.stderr


def test_a_generator_that_raises_midway(project: Project) -> None:
    source = """
    @hookimpl
    def check(recipe, runtime):
        yield problem("one-thing", "one thing is wrong")
        raise ValueError("midway")
    """
    answer = bad(project, source)
    assert (answer.exit_code, answer.slugs) == (3, ("plugin-raised",))
    assert "raised in check: ValueError: midway" in answer.stderr
    mends(project)


def test_an_exception_that_cannot_be_shown(project: Project) -> None:
    source = """
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError

    @hookimpl
    def check(recipe, runtime):
        raise Odd
    """
    assert "raised in check: Odd: (it cannot say what)" in bad(project, source).told(
        "plugin-raised"
    )


@pytest.mark.parametrize("what", ["StepError('boom')", "StepError()", "RecipeError('a', 'b')"])
def test_an_error_without_problems(project: Project, what: str) -> None:
    answer = bad(project, f"@hookimpl\ndef perform(step):\n    raise {what}")
    assert answer.exit_code == 3
    assert states(answer) == {"a": "failed", "b": "skipped"}
    assert "plugin 'bad' answered perform with nonsense" in answer.stderr


def test_a_command_that_raises_or_answers_nonsense(project: Project) -> None:
    source = """
    from coopery.commands import Command

    def conflicting(parser):
        parser.add_argument("--json")

    @hookimpl
    def add_commands():
        return [
            Command(name="raises", help="x", run=lambda c: 1 // 0),
            Command(name="none", help="x", run=lambda c: None),
            Command(name="clash", help="x", run=lambda c: 0, json=True, configure=conflicting),
        ]
    """
    answer = bad(project, source, "raises")
    assert answer.exit_code == 3
    assert "plugin 'bad' raised in its command raises: ZeroDivision" in answer.stderr
    assert "expected an exit code, got None" in project.coopery("none").told("bad-answer")
    assert "configure of its command clash" in project.coopery("clash").told("plugin-raised")
    mends(project)


# -- nonsense -------------------------------------------------------------------------------------

NONSENSE = [
    ("declare_options", "[int]", "expected a dataclass of options, got the class int"),
    ("declare_options", "[Problem]", "Problem.slug is not made with"),
    ("add_commands", "['greet']", "expected a Command, got str: 'greet'"),
    ("add_commands", "5", "expected a list, got int: 5"),
    ("declare_facets", "{'motd': 1}", "expected a list, got dict"),
    ("recipe_names", "'recipe.json'", "expected a list, got str"),
    ("recipe_names", "[None]", "expected a name, got None"),
    ("runtime_names", "[7]", "expected a name, got int: 7"),
    ("load_recipe", "{'task': {}}", "expected a Document, got dict"),
    ("check", "['x is wrong']", "expected a Problem, got str"),
    ("check", "[Problem(slug=3, message='x')]", "a Problem's slug is a string, not int: 3"),
    ("check", "[problem('x', 'y', hint=3)]", "hint is a string or None, not int: 3"),
    ("plan_task", "['echo', 'hi']", "expected an Invocation, got list"),
    ("plan_task", "Invocation(command='echo', shown='x')", "a tuple, each a string, not str"),
    ("open_store", "dict()", "a Store has the verbs recall, remember"),
    ("schedule", "False", "expected True when all is done, got bool: False"),
    ("diagnose", "[True]", "expected a Finding, got bool"),
    ("authorize", "True", "expected a list, got bool"),
    ("perform", "True", "expected a Made, got bool: True"),
    ("perform", "Made(outputs=['x'])", "outputs is a mapping, not list"),
]


@pytest.mark.parametrize(("hook", "answer", "said"), NONSENSE)
def test_nonsense_is_told(project: Project, hook: str, answer: str, said: str) -> None:
    source = (
        "from coopery.dependencies import Invocation\nfrom coopery.steps import Made\n"
        f"@hookimpl\ndef {hook}({ARGUMENTS[hook]}):\n    return {answer}\n"
    )
    got = bad(project, source)
    assert got.exit_code == 3
    assert f"plugin 'bad' answered {hook} with nonsense: " in got.stderr
    assert said in got.stderr and "go on without it: --without bad" in got.stderr


def test_a_coroutine_is_no_answer(project: Project) -> None:
    source = "@hookimpl\nasync def load_recipe(path):\n    return None\n"
    assert "expected a Document, got coroutine" in bad(project, source).told("bad-answer")


MADE = [
    ("{}", "the output 'o' is left out"),
    ("{'o': str(workspace.folder / 'o')}", "is str"),
    ("{'o': Path('/etc/passwd')}", "which is not in its workspace"),
    ("{'o': workspace.folder / '..' / 'o'}", "which is not in its workspace"),
    ("{'o': workspace.folder}", "which is not in its workspace"),
    ("{'o': workspace.folder / 'link' / 'passwd'}", "which is not in its workspace"),
]


@pytest.mark.parametrize(("outputs", "said"), MADE)
def test_outputs_outside_the_workspace_or_left_out(
    project: Project, outputs: str, said: str
) -> None:
    source = f"""
    from pathlib import Path
    from coopery.steps import Made

    @hookimpl
    def perform(step, workspace):
        (workspace.folder / "link").symlink_to("/etc")
        return Made(outputs={outputs})
    """
    answer = bad(project, source)
    assert answer.exit_code == 3
    assert states(answer) == {"a": "failed", "b": "skipped"}
    assert "plugin 'bad' answered perform with nonsense: for a, " in answer.stderr
    assert said in answer.stderr


def test_an_output_that_was_not_made_is_named(project: Project) -> None:
    source = """
    from coopery.steps import Made

    @hookimpl
    def perform(step, workspace):
        return Made(outputs={"o": workspace.folder / "o"}, facts={"exit_code": 0})
    """
    answer = bad(project, source)
    assert answer.exit_code == 1
    assert states(answer) == {"a": "failed", "b": "skipped"}
    assert "its output 'o' is missing [missing-output]" in answer.stderr
    mends(project)


def test_one_path_for_two_outputs(project: Project) -> None:
    source = """
    from coopery.steps import Made

    @hookimpl
    def perform(step, workspace):
        (workspace.folder / "x").write_text("x")
        return Made(outputs={name: workspace.folder / "x" for name in step.outputs})
    """
    recipe = "[task.a]\ncommand = 'true'\noutputs.p = {}\noutputs.q = {}\n"
    answer = bad(project, source, recipe=recipe)
    assert answer.exit_code == 3 and "which holds another, or lies in one" in answer.stderr


def test_facts_that_no_record_can_hold(project: Project) -> None:
    source = """
    from coopery.steps import Made

    @hookimpl
    def perform(step, workspace):
        (workspace.folder / "o").write_text("x")
        return Made(outputs={"o": workspace.folder / "o"}, facts={"where": workspace.folder})
    """
    answer = bad(project, source)
    assert answer.exit_code == 3 and "its facts are not JSON" in answer.stderr
    mends(project)


# -- observing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["ValueError('blind')", "SystemExit(0)", "StepError('x')"])
def test_an_observer_that_raises_breaks_nothing(project: Project, error: str) -> None:
    source = f"@hookimpl\ndef observe(events):\n    raise {error}\n"
    answer = bad(project, source)
    assert answer.exit_code == 3, "something that was asked for was not done"
    assert len(answer.slugs) == 1 and answer.stderr.count("plugin 'bad'") == 1
    assert states(answer) == {"a": "succeeded", "b": "succeeded"}
    assert last_record(project)["state"] == "ended"
    assert "done     b" in answer.stderr, "others hear all"
    assert project.read("b.txt") == "a\n"
    again = project.coopery("--without", "bad", "run", "--json")
    assert again.exit_code == 0 and all(step["cached"] for step in again.json["steps"])


def test_a_declared_error_of_an_observer_has_its_exit_code(project: Project) -> None:
    source = """
    @hookimpl
    def observe(events):
        if any(event.kind == "recorded" for event in events):
            raise RecipeError(problem("not-writable", "the report cannot be written"))
    """
    answer = bad(project, source)
    assert (answer.exit_code, answer.slugs) == (2, ("not-writable",))
    assert states(answer) == {"a": "succeeded", "b": "succeeded"}


# -- scheduling -----------------------------------------------------------------------------------

TAKE = "ex.decide(['a']); ex.reserve('a'); ex.perform('a')"
SCHEDULES = {
    "it returned without having done a and 1 more": "pass",
    "it returned without having done b": TAKE,
    "it asked for b before a had succeeded": "ex.decide(['a', 'b'])",
    "it asked for a twice": "ex.decide(['a']); ex.decide(['a'])",
    "it asked for 'c', which the plan does not have": "ex.decide(['c'])",
    "it reserved 'a' without having it decided": "ex.reserve('a')",
    "it performed 'a' without having it decided": "ex.perform('a')",
    "it performed a without having it reserved": "ex.decide(['a']); ex.perform('a')",
    "it performed a twice": f"{TAKE}; ex.perform('a')",
    "it gave up 'a', which did not fail": f"{TAKE}; ex.give_up('a')",
    "it returned while a was performed": (
        "ex.decide(['a']); ex.reserve('a');"
        " threading.Thread(target=ex.perform, args=['a']).start(); time.sleep(0.2)"
    ),
}


@pytest.mark.parametrize("said", SCHEDULES)
def test_a_scheduler_that_breaks_the_rules(project: Project, said: str) -> None:
    source = f"""
    import threading, time

    @hookimpl
    def schedule(execution):
        ex = execution
        {SCHEDULES[said]}
        return True
    """
    seconds = 2 if "returned while" in said else 0
    recipe = RECIPE.replace("echo a >", f"sleep {seconds}; echo a >")
    answer = bad(project, source, recipe=recipe)
    assert answer.exit_code == 3
    assert f"plugin 'bad' broke the rules of schedule: {said}" in answer.told("bad-schedule")
    record = last_record(project)
    assert record["exit_code"] == 3 and record["steps"] == answer.json["steps"]
    done = {step["step"] for step in record["steps"] if step["state"] == "succeeded"}
    assert {name for name in "ab" if (project.root / f"{name}.txt").exists()} == done
    assert {step["state"] for step in record["steps"]} <= {"succeeded", "cancelled", "skipped"}


def test_a_retry_before_it_is_due_breaks_a_rule(project: Project) -> None:
    source = """
    @hookimpl
    def schedule(execution):
        execution.decide(["a"])
        for _ in range(2):
            execution.reserve("a")
            assert execution.perform("a") == "again"
        return True
    """
    recipe = "[task.a]\nretries = { count = 3, delay = '30s' }\ncommand = 'false'\n"
    answer = bad(project, source, recipe=recipe)
    assert answer.exit_code == 3
    assert "it performed a again before that was due" in answer.told("bad-schedule")


def test_rules_that_were_broken_are_told_though_the_scheduler_hides_it(project: Project) -> None:
    source = """
    @hookimpl
    def schedule(execution):
        for name in execution.needs:
            execution.decide([name])
            execution.reserve(name)
            execution.perform(name)
        try:
            execution.perform("a")
        except Exception:
            pass
        return True
    """
    answer = bad(project, source)
    assert answer.exit_code == 3 and "it performed a twice" in answer.told("bad-schedule")
    assert states(answer) == {"a": "succeeded", "b": "succeeded"}


def test_what_a_scheduler_does_not_give_up_is_skipped_all_the_same(project: Project) -> None:
    source = """
    @hookimpl
    def schedule(execution):
        execution.decide(["a"])
        execution.reserve("a")
        execution.perform("a")
        return True
    """
    answer = bad(project, source, recipe=RECIPE.replace("echo a >", "exit 7; echo a >"))
    assert states(answer) == {"a": "failed", "b": "skipped"}
    assert (answer.exit_code, answer.slugs) == (1, ())


def test_an_interrupt_of_the_scheduler_leaves_a_true_record(project: Project) -> None:
    source = """
    @hookimpl
    def schedule(execution):
        execution.decide(["a"])
        execution.reserve("a")
        execution.perform("a")
        raise KeyboardInterrupt
    """
    answer = bad(project, source)
    assert answer.exit_code == 130
    assert states(answer) == {"a": "succeeded", "b": "cancelled"}
    assert last_record(project)["state"] == "interrupted"


# -- keeping --------------------------------------------------------------------------------------

STORE = """
from coopery_store.store import HomeStore

class Loses(HomeStore):
    {verb}

@hookimpl
def open_store(home):
    return Loses(home)
"""
LOSSES = [
    ("def find(self, identity): return None", 1, "lost-bytes", {"failed", "skipped"}),
    ("def recall(self, keys): return {}", 0, "", {"succeeded"}),
    ("def remember(self, records, successes=()): pass", 0, "", {"succeeded"}),
    ("def find(self, identity): raise KeyError(1)", 1, "defect", {"failed", "skipped"}),
    ("def put(self, path): raise KeyError(1)", 1, "defect", {"failed", "skipped"}),
    ("def recall(self, keys): raise KeyError(1)", 3, "defect", {"cancelled"}),
    ("def recall(self, keys): return None", 3, "defect", {"cancelled"}),
]


@pytest.mark.parametrize(("verb", "code", "slug", "ends"), LOSSES)
def test_a_store_that_loses_things(
    project: Project, verb: str, code: int, slug: str, ends: set[str]
) -> None:
    answer = bad(project, STORE.format(verb=verb))
    assert answer.exit_code == code, answer.stderr
    assert f"[{slug}]" in answer.stderr or not slug
    assert set(states(answer).values()) <= {*ends, "succeeded"}
    assert "scheduler" not in answer.stderr, "nobody else is blamed"
    assert last_record(project)["exit_code"] == code
    mends(project)
