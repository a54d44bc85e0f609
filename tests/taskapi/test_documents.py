"""What is wrong in a document: each thing by its JSON pointer and line, all of them at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coopery.errors import RecipeError
from coopery.testing import Project
from coopery_taskapi import reading, text
from coopery_taskapi.models import ProcessingContainer, Task

from .documents import CONTAINER, TASK, container, put, task, write

T0 = "/templates/0"
RULE = f"{T0}/inputs/0/scale_rule"
WRONG: list[tuple[str, Any, str, str, str]] = [
    # where, what stands there, slug, the problem's pointer, a word of the message or the hint
    ("/nmae", "x", "unknown-key", "/nmae", "did you mean 'name'?"),
    (f"{T0}/identifer", "x", "unknown-key", f"{T0}/identifer", "'identifier'"),
    (f"{T0}/env/0/adjustible", True, "unknown-key", f"{T0}/env/0/adjustible", "'adjustable'"),
    (f"{RULE}/scalefactor", 1, "unknown-key", f"{RULE}/scalefactor", "'scale_factor'"),
    ("/name", ..., "missing-key", "", "'name'"),
    ("/description", ..., "missing-key", "", "'description'"),
    ("/templates", ..., "missing-key", "", "'templates'"),
    ("/templates", [], "no-template", "/templates", "at least one"),
    (f"{T0}/identifier", ..., "missing-key", T0, "'identifier'"),
    (f"{T0}/env/0/value", ..., "missing-key", f"{T0}/env/0", "'value'"),
    (f"{T0}/inputs/1/mounted_path", ..., "missing-key", f"{T0}/inputs/1", "'mounted_path'"),
    (f"{RULE}/mode", ..., "missing-key", RULE, "'mode'"),
    ("/templates/1/identifier", "count", "duplicate-name", "/templates/1/identifier", "two"),
    (f"{T0}/inputs/1/name", "shapes", "duplicate-name", f"{T0}/inputs/1/name", "two channels"),
    (f"{T0}/env/1/name", "DEPTH", "duplicate-name", f"{T0}/env/1/name", "two variables"),
    ("/api_version", 2, "unknown-value", "/api_version", "2 is not one of 1"),
    ("/api_version", True, "wrong-type", "/api_version", "a boolean"),
    ("/api_version", "1", "wrong-type", "/api_version", "a string"),
    (f"{T0}/env/1/value", "exakt", "not-a-choice", f"{T0}/env/1/value", "'exact'"),
    (f"{T0}/env/0/value", 2, "wrong-type", f"{T0}/env/0/value", "found a whole number"),
    (f"{T0}/env/0/value", "two", "wrong-value", f"{T0}/env/0/value", "a whole number"),
    (f"{T0}/env/0/type", "itn", "unknown-value", f"{T0}/env/0/type", "'int'"),
    (f"{T0}/env/0/choices", ["2", "x"], "wrong-value", f"{T0}/env/0/choices/1", "whole number"),
    (f"{T0}/env/0/name", "A=B", "wrong-value", f"{T0}/env/0/name", "name of a variable"),
    (f"{RULE}/scale_factor", -25, "wrong-value", f"{RULE}/scale_factor", "more than 0"),
    (f"{RULE}/scale_factor", 0, "wrong-value", f"{RULE}/scale_factor", "more than 0"),
    (f"{RULE}/scale_factor", "25", "wrong-type", f"{RULE}/scale_factor", "a number"),
    (f"{RULE}/mode", "sums", "unknown-value", f"{RULE}/mode", "'sum'"),
    (f"{RULE}/type", "limits", "unknown-value", f"{RULE}/type", "'limit'"),
    (f"{RULE}/target_regex", "(", "wrong-value", f"{RULE}/target_regex", "regular expression"),
    (f"{RULE}/target_glob", "[a", "wrong-value", f"{RULE}/target_glob", "never closed"),
    (f"{RULE}/target_glob", "a**", "wrong-value", f"{RULE}/target_glob", "whole folders"),
    (f"{RULE}/target_glob", "../*", "wrong-value", f"{RULE}/target_glob", "leaves the channel"),
    (f"{RULE}/target_glob", "", "wrong-value", f"{RULE}/target_glob", "empty"),
    (f"{RULE}/target_dir", "/etc", "wrong-value", f"{RULE}/target_dir", "relative"),
    (f"{RULE}/target_dir", "a/../..", "wrong-value", f"{RULE}/target_dir", "leaves the channel"),
    (f"{T0}/inputs/1/mounted_path", "in", "wrong-value", f"{T0}/inputs/1/mounted_path", "absolut"),
    (f"{T0}/inputs/1/mounted_path", "/", "wrong-value", f"{T0}/inputs/1/mounted_path", "hide"),
    (f"{T0}/inputs/1/mounted_path", "/a/../b", "wrong-value", f"{T0}/inputs/1/mounted_path", ".."),
    (f"{T0}/inputs/1/mounted_path", "/data/shapes/x", "bad-mount",
     f"{T0}/inputs/1/mounted_path", "in each other's way"),
    (f"{T0}/inputs/1/mounted_path", "/data/a\nb\x1b[2J", "wrong-value",
     f"{T0}/inputs/1/mounted_path", "line break"),
    (f"{T0}/command/0", "a\ud800", "wrong-value", f"{T0}/command/0", "surrogate"),
    (f"{T0}/resources/limits/memory", "lots", "wrong-value",
     f"{T0}/resources/limits/memory", "512Mi"),
    (f"{T0}/resources/limits/memory", "1 GB", "wrong-value",
     f"{T0}/resources/limits/memory", "quantity"),
    (f"{T0}/resources/limits/cpu", -1, "wrong-value", f"{T0}/resources/limits/cpu", "more than"),
    (f"{T0}/command", "python3 x", "wrong-type", f"{T0}/command", "an array"),
    (f"{T0}/command/0", 3, "wrong-type", f"{T0}/command/0", "a string"),
    (f"{T0}/inputs", {}, "wrong-type", f"{T0}/inputs", "an array"),
]  # fmt: skip
WRONG_TASK: list[tuple[str, Any, str, str, str]] = [
    ("/taskTemplates", "x", "unknown-key", "/taskTemplates", "'taskTemplate'"),
    ("/image", ..., "missing-key", "", "'image'"),
    ("/image", "", "wrong-value", "/image", "empty"),
    ("/taskTemplate", ..., "missing-key", "", "'taskTemplate'"),
    ("/taskTemplate", {"identifier": "x"}, "missing-key", "/taskTemplate", "'description'"),
    ("/inputs/0/volume_source", ..., "missing-key", "/inputs/0", "'volume_source'"),
    ("/inputs/0/volume_source", {}, "missing-key", "/inputs/0/volume_source", "'host_path'"),
    ("/inputs/0/volume_source/host_path", "in/x", "wrong-value",
     "/inputs/0/volume_source/host_path", "absolute"),
    ("/inputs/1/name", "shapes", "duplicate-name", "/inputs/1/name", "two channels"),
    ("/env/1/name", "MODE", "duplicate-name", "/env/1/name", "two variables"),
    ("/env/0/value", 1, "wrong-type", "/env/0/value", "a string"),
    ("/config/type", "swarm", "unknown-value", "/config/type", "docker, k8s"),
    ("/config/lables", {}, "unknown-key", "/config/lables", "'labels'"),
    ("/config/registryPassword", 3, "wrong-type", "/config/registryPassword", "a string"),
    ("/resources/limits/memory", "1 GB", "wrong-value", "/resources/limits/memory", "quantity"),
    ("/image", "{{ env.NO_SUCH_VARIABLE }}/x", "undefined-variable", "/image", "export"),
    ("/image", "{{ custom.regisry }}/x", "undefined-variable", "/image", "'registry'"),
    ("/image", "{{ env.HOME.upper }}/x", "bad-expression", "/image", "no attributes"),
    ("/image", "{{ ''.__class__ }}", "bad-expression", "/image", "not understood"),
    ("/image", "{{ env.HOME | lower }}", "bad-expression", "/image", "no filters"),
    ("/image", "{{ os.environ }}", "bad-expression", "/image", "`env` and `custom`"),
    ("/image", "{{ env.HOME", "bad-expression", "/image", "never closed"),
    ("/image", "{% for x in y %}", "bad-expression", "/image", "no expression"),
]  # fmt: skip


def faults(
    document: dict[str, Any], kind: type, source: str | None = None
) -> list[tuple[str, ...]]:
    """What is wrong: slug, pointer, and all that is said."""
    content = (source or json.dumps(document, indent=1)).encode()
    with pytest.raises(RecipeError) as raised:
        reading.check(text.read(content, "x.json"), kind, {"registry": "here"})
    return [(p.slug, p.place.shown_key, str(p)) for p in raised.value.problems]


@pytest.mark.parametrize(("where", "value", "slug", "pointer", "word"), WRONG)
def test_wrong_in_a_specification(
    where: str, value: Any, slug: str, pointer: str, word: str
) -> None:
    found = faults(put(CONTAINER, where, value), ProcessingContainer)
    assert [(s, p) for s, p, _ in found] == [(slug, pointer)]
    assert word in found[0][2]


@pytest.mark.parametrize(("where", "value", "slug", "pointer", "word"), WRONG_TASK)
def test_wrong_in_a_task(where: str, value: Any, slug: str, pointer: str, word: str) -> None:
    found = faults(put(TASK, where, value), Task)
    assert [(s, p) for s, p, _ in found] == [(slug, pointer)]
    assert word in found[0][2]


def test_all_is_told_at_once_with_its_lines() -> None:
    document = CONTAINER
    for where, value, *_ in WRONG[:4]:
        document = put(document, where, value)
    document = put(document, f"{T0}/env/2/value", 3)
    found = faults(document, ProcessingContainer)
    assert len(found) == 5
    lines = json.dumps(document, indent=1).splitlines()
    for _, pointer, told in found:
        line = int(told.partition("x.json:")[2].partition(" ")[0])
        assert json.dumps(pointer.rpartition("/")[2]) in lines[line - 1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "line 1, column 1"),
        ('{"a": 1,}', "line 1, column 9"),
        ('{\n "name": "x"\n "image": "y"\n}', "line 3, column 2"),
        ("{'name': 1}", "double quotes"),
        ('{"name": "x" // no\n}', "no comments"),
        ('{"name": "x"', "ends before it is complete"),
        ('{"name": NaN}', "no NaN"),
        ('{"name": 1e999}', "too large"),
        ('{"name": ' + "9" * 5000 + "}", "digits"),
        ("[" * 100_000, "within each other"),
        ('{"a": ' * 70 + "1" + "}" * 70, "within each other"),
    ],
)
def test_what_is_no_json(given: str, told: str) -> None:
    with pytest.raises(RecipeError) as raised:
        text.read(given.encode(), "x.json")
    assert [p.slug for p in raised.value.problems] == ["invalid-json"]
    assert told in str(raised.value)


def test_what_is_not_utf_8_or_too_large() -> None:
    with pytest.raises(RecipeError, match=r"x\.json:2: the file is not UTF-8"):
        text.read(b'{\n "name": "\xff"}', "x.json")
    with pytest.raises(RecipeError, match="more than 8 MB"):
        text.read(b" " * (text.LARGEST + 1), "x.json")


def test_a_key_that_is_given_twice() -> None:
    source = json.dumps(task(), indent=1).replace('"image"', '"name": "b",\n "image"')
    (found,) = faults({}, Task, source)
    assert found[:2] == ("duplicate-key", "/name")
    assert "x.json:4" in found[2] and "line 2 already" in found[2]


def test_nulls_and_what_may_be_left_out() -> None:
    bare = {
        "name": "x",
        "description": "y",
        "templates": [{"identifier": "z", "description": "w", "command": None, "inputs": None}],
        "$schema": "x",
    }
    read = reading.check(text.read(json.dumps(bare).encode(), "x"), ProcessingContainer, {})
    assert read.document.api_version == 1
    assert read.document.templates[0].command is None


def test_the_installed_command(project: Project) -> None:
    write(project.root / "any.json", container())
    write(project.root / "t.json", task())
    good = project.coopery("validate", "any.json")
    assert (good.exit_code, good.stdout) == (
        0,
        "any.json: ok (processing-container, 2 templates: count, draw)\n",
    )
    good = project.coopery("validate", "t.json", "--set", "custom.registry=a", "--json")
    assert good.json["kind"] == "task" and good.json["ok"] is True
    write(project.root / "any", container())
    assert "processing-container" in project.coopery("validate", "any").stdout
    write(project.root / "any.json", put(CONTAINER, f"{T0}/env/0/value", 3))
    bad = project.coopery("validate", "any.json", "--json")
    assert bad.exit_code == 2
    (told,) = bad.json["problems"]
    assert (told["key"], told["file"]) == (f"{T0}/env/0/value", "any.json")
    forced = project.coopery("validate", "t.json", "--schema", "processing-container")
    assert forced.exit_code == 2 and "unknown key 'taskTemplate'" in forced.stderr
    assert "did you mean 'task'?" in project.coopery("validate", "t.json", "--schema", "tsk").stderr
    write(project.root / "no.json", {"a": 1})
    neither = project.coopery("validate", "no.json")
    assert neither.exit_code == 2
    assert "--schema says that it is a processing-container or a task" in neither.stderr
    assert project.coopery("validate", "missing.json").exit_code == 2


def test_a_password_is_told_of_and_not_told(project: Project) -> None:
    given = put(TASK, "/config/registryPassword", "correct-horse-battery")
    write(project.root / "t.json", put(given, "/config/lables", "correct-horse-battery"))
    answer = project.coopery("validate", "t.json", "--set", "custom.registry=a")
    assert answer.exit_code == 2
    assert "correct-horse" not in answer.stderr + answer.stdout
    write(project.root / "t.json", given)
    answer = project.coopery("validate", "t.json", "--set", "custom.registry=a")
    assert answer.exit_code == 0
    assert "[password-as-text]" in answer.stderr and "(/config/registryPassword)" in answer.stderr
    write(project.root / "t.json", put(given, "/config/registryPassword", "{{ env.PASS }}"))
    answer = project.coopery(
        "validate", "t.json", "--set", "custom.registry=a", env={"PASS": "correct-horse-battery"}
    )
    assert (answer.exit_code, answer.stderr) == (0, "")


def test_a_set_that_is_not_understood(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        reading.read_task(write(tmp_path / "t.json", task()), "t.json", ["x=1", "custom.a-b=2"])
    assert [p.slug for p in raised.value.problems] == ["bad-set", "bad-set"]


@pytest.mark.parametrize("amount", [0.5, "1500m"])
def test_of_cards_there_are_only_whole_ones(project: Project, amount: object) -> None:
    limits = {"gpu": 1, "nvidia.com/gpu": amount}
    write(project.root / "t.json", task(image="a:1", resources={"limits": limits}))
    answer = project.coopery("validate", "t.json")
    assert answer.exit_code == 2
    assert "(/resources/limits/nvidia.com~1gpu)" in answer.stderr
    assert "only whole cards" in answer.stderr
    assert "1 errors" not in answer.stderr
    changed = put(CONTAINER, f"{T0}/resources/limits/gpu", amount)
    write(project.root / "pc.json", changed)
    answer = project.coopery("validate", "pc.json")
    assert f"({T0}/resources/limits/gpu)" in answer.stderr


def test_validate_checks_a_task_with_its_specification(project: Project) -> None:
    write(project.root / "pc.json", CONTAINER)
    wrong = put(put(task(image="a:1"), "/env/0/value", "slow"), "/inputs/1/name", "modle")
    write(project.root / "t.json", wrong)
    alone = project.coopery("validate", "t.json")
    assert "by itself: a:1 was not asked for its template 'count'" in alone.stdout
    both = project.coopery("validate", "t.json", "--specification", "pc.json")
    assert both.exit_code == 2
    assert all(s in both.stderr for s in ("not-a-choice", "unknown-channel", "unbound-channel"))
    write(project.root / "t.json", task(image="a:1"))
    both = project.coopery("validate", "t.json", "--specification", "pc.json")
    assert both.exit_code == 0, both.stderr
    assert "of the template 'count' of pc.json" in both.stdout


@pytest.mark.parametrize("command", ["run", "why"])
def test_a_document_named_as_a_target_is_told_how_to_be_given(
    project: Project, command: str
) -> None:
    write(project.root / "t.json", TASK)
    answer = project.coopery(command, "t.json")
    assert answer.exit_code == 2
    assert "coopery run -f t.json" in answer.stderr
    assert "no-recipe" in project.coopery(command, "gone.json").stderr


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (CONTAINER, "this says what an image can do, and not what is to be run"),
        ([1], "this is no task: it has neither `image` nor `taskTemplate`"),
    ],
)
def test_what_is_no_task_is_not_run(project: Project, document: object, told: str) -> None:
    write(project.root / "x.json", document)
    answer = project.coopery("run", "-f", "x.json")
    assert answer.exit_code == 2
    assert f"x.json:1: {told} [unknown-recipe-kind]" in answer.stderr


def test_a_recipe_is_checked_against_a_specification_of_the_project(project: Project) -> None:
    write(project.root / "pc.json", CONTAINER)
    project.write(
        "recipe.toml",
        """\
[image.shapes]
specification = "pc.json"

[task.good]
template = "shapes#count"
matrix.mode = ["fast", "exact"]
env.MODE = "{matrix.mode}"
inputs.shapes = "data"
inputs.model = "data"
outputs.counts = {}

[task.count]
template = "shapes#count"
matrix.f = ["csv"]
env.MODE = "slow"
env.FORMAT = "{matrix.f}"
inputs.shapes = "data"
inputs.modle = "data"
outputs.counts = {}

[task.draw]
template = "shapes#darw"
""",
    )
    project.write("data/a.txt", "a")
    answer = project.coopery("validate")
    assert answer.exit_code == 2
    for told in (
        "recipe.toml:15 (task.count.env.MODE): 'slow' is not one of the choices",
        "recipe.toml:16 (task.count.env.FORMAT): FORMAT is not adjustable",
        "recipe.toml:18 (task.count.inputs.modle): the template has no input 'modle'",
        "the input 'model' of the template is not bound",
        "(task.draw.template): shapes has no template 'darw'",
        "\n5 errors",
    ):
        assert told in answer.stderr, answer.stderr
