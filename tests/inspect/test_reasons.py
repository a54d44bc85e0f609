"""What changed has one name, which `run`, `run --dry-run` and `why` all call it by."""

from __future__ import annotations

import pytest

from coopery.reasons import changes, words
from coopery.steps import Part, Store

from .conftest import Project

RECIPE = """\
[task.p]
params.depth = 3
params.text = "3"
command = 'cat "{inputs.i}" > "{outputs.o}"; echo {params.depth} {params.text}'
inputs.i = "data/d"
outputs.o = "build/o.txt"
"""

FOLDER = 'mkdir -p "{outputs.o}" && echo > "{outputs.o}/x"'


def told(project: Project, target: str = "p") -> list[str]:
    """What changed, as `why`, a forecast and a run tell it: all in the same words."""
    (answer,) = project.json("why", target)["targets"]
    why = [": ".join((*r["through"], r["text"])) for r in answer["reasons"]]
    forecast = {s["step"]: s["reason"] for s in project.json("run", "-n", target)["steps"]}
    ran = {s["step"]: s["reason"] for s in project.json("run", "--overwrite", target)["steps"]}
    assert forecast[target] == ran[target]["text"] == "; ".join(why)
    return why


@pytest.fixture
def made(project: Project) -> Project:
    """A task that was run once."""
    (project.root / "recipe.toml").write_text(RECIPE)
    (project.root / "data").mkdir()
    (project.root / "data/d").write_text("data\n")
    project("run")
    return project


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("build/o.txt", "build/o2.txt", ["output o: base name o.txt -> o2.txt"]),
        (
            '"build/o.txt"',
            '{ path = "build/o.txt", name = "other.txt" }',
            ["output o: base name o.txt -> other.txt"],
        ),
        (
            '"build/o.txt"',
            '{ path = "build/o.txt", mount = "/no-such-folder/o.txt" }',
            ["output o: now mounted at /no-such-folder/o.txt"],
        ),
        ("params.depth = 3", "params.depth = 4", ["parameter depth changed: 3 -> 4"]),
        ('params.text = "3"', "params.text = 3", ['parameter text changed: "3" -> 3']),
    ],
)
def test_a_part_of_the_recipe_is_named(made: Project, old: str, new: str, words: list[str]) -> None:
    text = (made.root / "recipe.toml").read_text()
    (made.root / "recipe.toml").write_text(text.replace(old, new, 1))
    assert told(made) == words


def test_a_trailing_slash_is_named(project: Project) -> None:
    recipe = f"[task.p]\ncommand = '{FOLDER}'\noutputs.o = 'build/o'\n"
    (project.root / "recipe.toml").write_text(recipe)
    project("run")
    project.edit("build/o", "build/o/")
    assert told(project) == ["output o: now a folder that is made beforehand"]


def test_an_input_renamed_with_equal_contents_is_told_by_its_names(made: Project) -> None:
    (made.root / "data/d").rename(made.root / "data/e")
    made.edit('"data/d"', '"data/e"')
    assert told(made) == ["input i: seen as d -> e"]


def test_an_input_that_lies_elsewhere_and_differs_is_one_change(made: Project) -> None:
    (made.root / "other").mkdir()
    (made.root / "other/d").write_text("other\n")
    made.edit('"data/d"', '"other/d"')
    assert told(made) == ["input i (data/d -> other/d) changed"]


def test_an_exec_bit_is_named(made: Project) -> None:
    (made.root / "data/d").chmod(0o755)
    assert told(made) == ["input i (data/d): made executable"]
    (made.root / "data/d").chmod(0o644)
    made("run")
    made.edit('"data/d"', '"data"')
    made.edit('cat "{inputs.i}"', 'cat "{inputs.i}/d"')
    made("run", "--overwrite")
    (made.root / "data/d").chmod(0o755)
    assert told(made) == ["input i (data) changed: d made executable"]


def test_channels_come_and_go_as_wholes(made: Project) -> None:
    made.edit("outputs.o =", "outputs.more = {}\noutputs.o =")
    made.edit("command = 'cat", "command = 'echo > {outputs.more}; cat")
    (command, channel) = told(made)
    assert channel == "output more is new"
    assert command.startswith("command changed: ") and "echo > {outputs.more}" in command


def test_a_long_command_is_cut_around_what_differs(project: Project) -> None:
    start = "; ".join(f"echo {n}" for n in range(80))
    (project.root / "recipe.toml").write_text(f"[task.p]\ncommand = '{start}; echo one; {start}'\n")
    project("run")
    project.edit("one", "two")
    (text,) = told(project)
    assert "echo one; " in text and "echo two; " in text and len(text) < 200


def test_a_new_instance_is_named(project: Project) -> None:
    project("run")
    project.edit("[0, 1]", "[0, 1, 2]")
    project("run", "fit@fold=2")
    assert told(project, "score") == ["input models changed: fold=2/model.txt is new"]


def test_a_record_of_an_older_version_explains_as_well() -> None:
    channel = (
        '{"has": {"base": "%s", "folder": false, "mount": null, "name": "o"}, "is": "Channel"}'
    )
    old, new = (
        [Part(name="outputs", value=f"[{channel % base}]"), Part(name="outputs", value='["o"]')]
        for base in ("o.txt", "o2.txt")
    )
    (change,) = changes(old, new)
    assert words(change, _NoStore()) == "output o: base name o.txt -> o2.txt"  # type: ignore[arg-type]
    assert changes(old, old) == []


class _NoStore:
    """No listing is known."""

    def listing(self, identity: object) -> None:
        """None."""


def test_hashes_of_a_package_and_an_image_are_named_as_people_know_them() -> None:
    store: Store = _NoStore()  # type: ignore[assignment]
    old = [
        Part(name="hashes np", value='["sha256:1"]'),
        Part(name="aux_digests payload.pkl", value="0" * 64),
        Part(name="image", value="1" * 64, step="environment science"),
    ]
    new = [
        Part(name="hashes np", value='["sha256:2"]'),
        Part(name="aux_digests payload.pkl", value="2" * 64),
        Part(name="image", value="3" * 64, step="environment science"),
    ]
    assert [words(change, store) for change in changes(old, new)] == [
        "files of package np changed",
        "the function's code changed",
        "image science changed",
    ]


def test_a_call_follows_from_what_it_names() -> None:
    call = '{"arguments": {%s}, "channels": {"o": "O"}, "target": "m:%s"}'
    old = [
        Part(name="aux_digests call.json", value=call % ('"seed": 0', "f")),
    ]
    new = [
        Part(name="parameter depth", value="3"),
        Part(name="aux_digests call.json", value=call % ('"depth": 3, "seed": 0', "f")),
    ]
    assert [change.name for change in changes(old, new)] == ["parameter depth"]
    other = [Part(name="aux_digests call.json", value=call % ('"seed": 0', "g"))]
    (change,) = changes(old, other)
    assert words(change, _NoStore()) == "the function's call changed: target: m:f -> m:g"  # type: ignore[arg-type]
