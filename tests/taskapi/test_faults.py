"""What is wrong with tasks of templates, and with a task.json that is run: slugs and places."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project

from .conftest import Bench, bind
from .documents import put, write

pytestmark = pytest.mark.xdist_group("taskapi-probes")
SPECIFICATION: dict[str, Any] = {
    "name": "shapes",
    "description": "x",
    "templates": [
        {
            "identifier": "count",
            "description": "x",
            "env": [
                {"name": "DEPTH", "value": "2", "type": "int"},
                {"name": "MODE", "value": "fast", "choices": ["fast", "exact"]},
                {"name": "FORMAT", "value": "csv", "adjustable": False},
            ],
            "inputs": [{"name": "shapes", "mounted_path": "/data/shapes"}],
            "outputs": [{"name": "counts", "mounted_path": "/data/counts"}],
            "command": ["cp", "-r", "/data/shapes/.", "/data/counts"],
        },
        {"identifier": "draw", "description": "x", "command": ["true"]},
    ],
}
HEAD = """
[image.shapes]
specification = "processing-container.json"

[task.a]
"""
USE = 'template = "shapes#count"\n'
CHANNELS = 'inputs.shapes = "data"\noutputs.counts = "out"\n'


@pytest.fixture
def shapes(project: Project) -> Project:
    """A project with a specification and data, and no recipe yet."""
    write(project.root / "processing-container.json", SPECIFICATION)
    project.write("data/a.txt", "abc\n")
    return project


def wrong(project: Project, lines: str, *arguments: str, **options: Any) -> list[tuple[str, str]]:
    """The slugs of a recipe's problems, each with line and key. Nothing may be run."""
    project.write("recipe.toml", HEAD + lines)
    answer = project.coopery("run", *arguments, **options)
    assert answer.exit_code == 2, answer.stderr
    assert "Traceback" not in answer.stderr and not (project.root / "out").exists()
    return places(project, answer.stderr)


def places(project: Project, told: str) -> list[tuple[str, str]]:
    """Slug and place of each error told."""
    found = []
    for line in told.splitlines():
        if line.startswith("error: ") and line.endswith("]"):
            place = (
                line.removeprefix("error: ").removeprefix(f"{project.root}/").partition("): ")[0]
            )
            found.append((line.rpartition("[")[2][:-1], place + ")"))
    return found


def at(line: int, key: str) -> str:
    """A place in the recipe; the lines of what a test adds begin with 1."""
    return f"recipe.toml:{line + 4} (task.a.{key})"


@pytest.mark.parametrize(
    ("lines", "slug", "place"),
    [
        ('template = "shapes#cout"\n' + CHANNELS, "unknown-template", at(1, "template")),
        ('template = "shaps#count"\n' + CHANNELS, "unknown-image", at(1, "template")),
        ('template = "shapes"\n' + CHANNELS, "wrong-value", at(1, "template")),
        ('template = "shapes#"\n' + CHANNELS, "wrong-value", at(1, "template")),
        ('template = "#count"\n' + CHANNELS, "wrong-value", at(1, "template")),
        ('template = "r.example/X:1#a"\n' + CHANNELS, "bad-reference", at(1, "template")),
        (USE + CHANNELS + 'image = "other"\n', "two-images", at(4, "image")),
        (USE + CHANNELS + 'command = "true"\n', "two-actions", at(4, "command")),
        (USE + 'outputs.counts = "out"\n', "unbound-channel", "recipe.toml:4 (task.a.inputs)"),
        (
            USE + 'inputs.shapes = { path = "data", mount = "/x/y" }\noutputs.counts = "out"\n',
            "bad-mount",
            at(2, "inputs.shapes.mount"),
        ),
        (USE + CHANNELS + 'pass_env = ["FORMAT"]\n', "not-adjustable", at(4, "pass_env")),
        (USE + CHANNELS + 'pass_env = ["MODE"]\n', "not-a-choice", at(4, "pass_env")),
        (USE + CHANNELS + 'pass_env = ["DEPTH"]\n', "wrong-value", at(4, "pass_env")),
        (
            USE + CHANNELS + 'secrets.FORMAT = { secret = "S", as = "variable" }\n',
            "not-adjustable",
            at(4, "secrets.FORMAT"),
        ),
        (
            'template = { name = "shapes#count", resources.limits.cpu = 1, '
            "resources.requests.cpu = 2 }\n" + CHANNELS,
            "request-above-limit",
            at(1, "template.resources.limits.cpu"),
        ),
    ],
)
def test_what_is_wrong_with_a_use(shapes: Project, lines: str, slug: str, place: str) -> None:
    env = {"FORMAT": "xml", "MODE": "slow", "DEPTH": "deep", "S": "a-secret-of-some-length"}
    assert wrong(shapes, lines, env=env) == [(slug, place)]


def test_names_that_are_near_are_offered(shapes: Project) -> None:
    shapes.write("recipe.toml", HEAD + USE.replace("count", "cout") + CHANNELS)
    told = shapes.coopery("run").told("unknown-template")
    assert "shapes has no template 'cout'" in told
    assert "did you mean 'count'? There is: count, draw" in told
    shapes.write("recipe.toml", HEAD + USE.replace("shapes", "shaps") + CHANNELS)
    assert "did you mean 'shapes'?" in shapes.coopery("run").told("unknown-image")


def test_all_that_does_not_fit_is_told_at_once(shapes: Project) -> None:
    lines = CHANNELS.replace("shapes", "shaps").replace("counts", "count")
    lines += 'env = { MODE = "fats", DEPTH = "x", FORMAT = "y", OTHER = "z" }\n'
    assert sorted(wrong(shapes, USE + lines)) == sorted(
        [
            ("not-a-choice", at(4, "env.MODE")),
            ("wrong-value", at(4, "env.DEPTH")),
            ("not-adjustable", at(4, "env.FORMAT")),
            ("unknown-channel", at(2, "inputs.shaps")),
            ("unknown-channel", at(3, "outputs.count")),
            ("unbound-channel", at(2, "inputs")),
            ("unbound-channel", at(3, "outputs")),
        ]
    )


def test_what_is_wrong_in_the_keys_of_a_use(shapes: Project) -> None:
    use = """
    template.name = "shapes#count"
    template.comand = ["x"]
    template.scale_rule.shapes = { scale_factor = -1, type = "limt", mode = "sum" }
    """.replace("    ", "").lstrip()
    assert sorted(wrong(shapes, use + CHANNELS)) == sorted(
        [
            ("unknown-key", at(2, "template.comand")),
            ("wrong-value", at(3, "template.scale_rule.shapes.scale_factor")),
            ("unknown-value", at(3, "template.scale_rule.shapes.type")),
        ]
    )
    use = """
    template.name = "shapes#count"
    template.command = ["x", "{inputs.shaps}", "{params.z}"]
    template.scale_rule.shaps = { scale_factor = 1, type = "limit", mode = "sum" }
    """.replace("    ", "").lstrip()
    assert sorted(wrong(shapes, use + CHANNELS)) == sorted(
        [
            ("unknown-placeholder", at(2, "template.command[1]")),
            ("unknown-placeholder", at(2, "template.command[2]")),
            ("unknown-channel", at(3, "template.scale_rule.shaps")),
        ]
    )


@pytest.mark.parametrize(
    ("pointer", "value", "slug", "key"),
    [
        ("/templates/0/command", ..., "no-command", "5 (task.a.template)"),
        ("/templates/0/command", [], "no-command", "5 (task.a.template)"),
        ("/templates/0/inputs/0/mounted_path", "/proc/x", "bad-mount", "6 (task.a.inputs.shapes)"),
        (
            "/templates/0/outputs/0/mounted_path",
            "/coopery/x",
            "bad-mount",
            "7 (task.a.outputs.counts)",
        ),
    ],
)
def test_a_template_that_cannot_be_run(
    shapes: Project, pointer: str, value: Any, slug: str, key: str
) -> None:
    write(shapes.root / "processing-container.json", put(SPECIFICATION, pointer, value))
    assert wrong(shapes, USE + CHANNELS) == [(slug, f"recipe.toml:{key}")]


def test_an_image_that_does_not_say_what_it_can_do(shapes: Project) -> None:
    text = '[image.shapes]\nsources = ["data"]\n\n\n[task.a]\n' + USE + CHANNELS
    shapes.write("recipe.toml", text)
    answer = shapes.coopery("run")
    assert (answer.exit_code, answer.slugs) == (2, ("no-specification",))
    assert "recipe.toml:1 (image.shapes)" in answer.stderr
    assert "specification = " in answer.told("no-specification")


def test_what_is_wrong_in_the_specification_has_its_place_there(shapes: Project) -> None:
    """And that it is missing, where it is named; even of an image of which no task is."""
    file = shapes.root / "processing-container.json"
    broken = put(put(SPECIFICATION, "/templates/0/command", 3), "/nmae", "x")
    write(file, broken)
    lines = file.read_text().splitlines()
    first = next(n for n, line in enumerate(lines, 1) if '"command": 3' in line)
    assert wrong(shapes, USE + CHANNELS) == [
        ("wrong-type", f"processing-container.json:{first} (/templates/0/command)"),
        ("unknown-key", f"processing-container.json:{len(lines) - 1} (/nmae)"),
    ]
    file.write_text('{"name": "x",}')
    assert [slug for slug, _ in wrong(shapes, 'command = "true"\nimage = "shapes"\n')] == [
        "invalid-json"
    ]
    file.unlink()
    place = "recipe.toml:2 (image.shapes.specification)"
    assert wrong(shapes, USE + CHANNELS) == [("missing-input", place)]
    text = HEAD.replace('"processing-container.json"', '"../x.json"')
    shapes.write("recipe.toml", text + USE + CHANNELS)
    assert places(shapes, shapes.coopery("run").stderr) == [("outside-project", place)]


def test_a_channel_without_items(shapes: Project) -> None:
    """That is seen once the data is there: before the task runs."""
    rule = {"scale_factor": 1, "type": "limit", "mode": "max_item_sum"}
    changed = put(SPECIFICATION, "/templates/0/inputs/0/scale_rule", rule)
    write(shapes.root / "processing-container.json", changed)
    shapes.write("recipe.toml", HEAD + USE + CHANNELS)
    answer = shapes.coopery("run", "--json")
    assert answer.exit_code == 1, answer.stderr
    step = next(step for step in answer.json["steps"] if step["step"] == "a")
    (problem,) = step["problems"]
    assert problem["slug"] == "empty-channel" and str(shapes.root / "data") in problem["message"]
    assert step["log"] is None and not (shapes.root / "out").exists()
    (shapes.root / "data/item").mkdir()
    assert shapes.coopery("run").exit_code == 0


Change = Callable[[Bench], dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "slug", "pointer"),
    [
        (lambda b: {"taskTemplate": "cpoy"}, "unknown-template", "/taskTemplate"),
        (lambda b: {"inputs": []}, "unbound-channel", "/inputs"),
        (
            lambda b: {"outputs": [bind("copies", b.out), bind("more", b.out)]},
            "unknown-channel",
            "/outputs/1/name",
        ),
        (
            lambda b: {"inputs": [bind("texts", b.data / "gone")]},
            "missing-input",
            "/inputs/0/volume_source/host_path",
        ),
        (
            lambda b: {"inputs": [bind("texts", b.data / "a.txt")]},
            "not-a-folder",
            "/inputs/0/volume_source/host_path",
        ),
        (
            lambda b: {"inputs": [bind("texts", "data")]},
            "wrong-value",
            "/inputs/0/volume_source/host_path",
        ),
        (
            lambda b: {"outputs": [bind("copies", b.data / "a.txt/x")]},
            "bad-destination",
            "/outputs/0/volume_source/host_path",
        ),
        (lambda b: {"name": "{{ custom.nowhere }}"}, "undefined-variable", "/name"),
        (lambda b: {"image": "A b"}, "bad-reference", "/image"),
        (
            lambda b: {"env": [{"name": "COOPERY_X", "value": "1"}]},
            "bad-variable",
            "/env/0/value",
        ),
        (
            lambda b: {"env": [{"name": "FORMAT", "value": "csv"}]},
            "not-adjustable",
            "/env/0/value",
        ),
        (
            lambda b: {"env": [{"name": "MODE", "value": "fats"}]},
            "not-a-choice",
            "/env/0/value",
        ),
        (lambda b: {"command": []}, "no-command", "/taskTemplate"),
        (
            lambda b: {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": 1}}},
            "request-above-limit",
            "/resources/limits/cpu",
        ),
    ],
)
def test_what_is_wrong_with_a_task(bench: Bench, change: Change, slug: str, pointer: str) -> None:
    task = bench.task(**change(bench))
    answer = bench.coopery(task)
    assert (answer.exit_code, answer.slugs) == (2, (slug,)), answer.stderr
    lines = json.dumps(task, indent=2).splitlines()
    first = answer.told(slug).splitlines()[0]
    assert f"{bench.project.root}/task.json:" in first and f" ({pointer}): " in first
    line = int(first.partition("task.json:")[2].partition(" ")[0])
    name = [part for part in pointer.split("/") if not part.isdigit()][-1]
    assert f'"{name}":' in lines[line - 1]
    assert not bench.out.exists()


def test_several_things_at_once(bench: Bench) -> None:
    inputs = [bind("texts", bench.data / "gone")]
    outputs = [bind("copies", bench.data / "a.txt")]
    env = [{"name": "COOPERY_X", "value": "1"}]
    answer = bench.coopery(bench.task(inputs=inputs, outputs=outputs, env=env))
    assert set(answer.slugs) == {"missing-input", "bad-destination", "bad-variable"}
    env = [{"name": "MODE", "value": "a"}, {"name": "DEPTH", "value": "b"}]
    answer = bench.coopery(bench.task(inputs=[], env=env))
    assert set(answer.slugs) == {"not-a-choice", "wrong-value", "unbound-channel"}


def test_paths_of_what_is_remembered_are_told_as_they_are(bench: Bench) -> None:
    """There they are destinations and inputs of a recipe whose folder is all of this machine."""
    inputs = [bind("texts", bench.data / "gone")]
    outputs = [bind("copies", bench.data / "a.txt/x")]
    answer = bench.coopery(bench.task(inputs=inputs, outputs=outputs), "--remember")
    assert set(answer.slugs) == {"missing-input", "bad-destination"}, answer.stderr
    assert f"'{bench.data}/gone'" in answer.told("missing-input")
    assert f"lies in '{bench.data}/a.txt'" in answer.told("bad-destination")


def test_sets_are_of_custom_variables(bench: Bench) -> None:
    task = bench.task(inputs=[bind("texts", "{{ custom.data }}")])
    answer = bench.coopery(task, "--set", "Copy-them.x=1")
    assert (answer.exit_code, answer.slugs) == (2, ("bad-set",)), answer.stderr
    assert "--set Copy-them.x" in answer.stderr and "custom.NAME=VALUE" in answer.stderr
    bench.run(task, "--set", f"custom.data={bench.data}")
    assert (bench.out / "a.txt").is_file()


@pytest.mark.parametrize(
    ("text", "slug", "words"),
    [
        (json.dumps(SPECIFICATION), "unknown-recipe-kind", "--specification"),
        ("[]", "unknown-recipe-kind", "taskTemplate"),
        ('{"name": "x",\n}', "invalid-json", "comma"),
        ('{"image": "x", "image": "y"}', "duplicate-key", "image"),
        ('{"image": "x"}', "missing-key", "taskTemplate"),
    ],
)
def test_what_is_no_task(project: Project, text: str, slug: str, words: str) -> None:
    (project.root / "task.json").write_text(text)
    answer = project.coopery("run", "-f", "task.json")
    assert answer.exit_code == 2 and slug in answer.slugs, answer.stderr
    assert words in answer.stderr and f"error: {project.root}/task.json:" in answer.stderr


def test_a_specification_that_is_not_there(bench: Bench) -> None:
    answer = bench.coopery(bench.task(), "--specification", "none.json")
    assert (answer.exit_code, answer.slugs) == (2, ("unreadable",))
    assert f"{bench.project.root}/none.json" in answer.stderr


def test_custom_variables_in_a_specification_that_is_given(bench: Bench) -> None:
    """Are filled in as in the task, for `explain` and for `run`; from the command line, too."""
    said = put(SPECIFICATION, "/templates/1/command", ["echo", "{{ custom.word }}"])
    write(bench.project.root / "spec.json", said)
    task = {"name": "x", "image": bench.image, "taskTemplate": "draw"}
    given = ("--specification", "spec.json", "--set", "custom.word={a} b")
    assert Path(bench.run(task, *given)["log"]).read_text() == "{a} b\n"
    explained = bench.project.coopery("explain", "task.json", "--json", *given)
    assert explained.json["command"]["value"] == ["echo", "{a} b"], explained.stderr
    answer = bench.coopery(task, *given[:2])
    assert answer.slugs == ("undefined-variable",) and "/spec.json:" in answer.stderr


def test_an_image_that_says_nothing(bench: Bench) -> None:
    """Another specification may be given; a template that it says itself needs none."""
    silent = "python:3.11-slim"
    answer = bench.coopery(bench.task(image=silent))
    assert (answer.exit_code, answer.slugs) == (2, ("no-specification",)), answer.stderr
    assert "(/taskTemplate)" in answer.stderr and "--specification" in answer.stderr
    said = put(SPECIFICATION, "/templates/1/command", ["echo", "given"])
    write(bench.project.root / "spec.json", said)
    task = {"name": "x", "image": silent, "taskTemplate": "draw"}
    step = bench.run(task, "--specification", "spec.json")
    assert Path(step["log"]).read_text() == "given\n"
