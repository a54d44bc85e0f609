"""`coopery init --from`: a specification from what an image says of itself (row K9)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coopery.testing import Project

from .conftest import MakeImage

FILE = "processing-container.json"
LABELS = {
    "org.opencontainers.image.title": "Threshold",
    "org.opencontainers.image.description": "Marks what is bright",
}
ENV = """\
ENV PATH=/usr/bin PYTHON_VERSION=3.11 LANG=C
ENV INPUT_DIR=/data/in OUTPUT_DIR=/data/out/ MODEL_PATH=/opt/model.bin
ENV LEVEL=0.5 ROUNDS=3 VERBOSE=False NAME="a b" BRACES="{{ env.HOME }}"
ENV API_TOKEN=ghp_0123456789abcdefghij0123456789abcdef
CMD ["/run"]
"""


def draft(project: Project, *arguments: str) -> Any:
    answer = project.coopery("init", "--from", *arguments)
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout == f"{FILE}\n"
    checked = project.coopery("validate", FILE)
    assert checked.exit_code == 0, checked.stderr
    return answer.stderr, json.loads(project.read(FILE))


def test_an_image_is_described_as_far_as_it_can_be(project: Project, image: MakeImage) -> None:
    told, document = draft(project, "image", image({}, LABELS, ENV))
    assert (document["name"], document["description"]) == ("Threshold", "Marks what is bright")
    (template,) = document["templates"]
    assert [(c["name"], c["mounted_path"]) for c in template["inputs"]] == [("input", "/data/in")]
    assert [(c["name"], c["mounted_path"]) for c in template["outputs"]] == [
        ("output", "/data/out")
    ]
    settings = {
        s["name"]: (s["value"], s.get("type"), s.get("adjustable")) for s in template["env"]
    }
    assert settings == {
        "INPUT_DIR": ("/data/in", "path", False),
        "OUTPUT_DIR": ("/data/out/", "path", False),
        "MODEL_PATH": ("/opt/model.bin", "path", None),
        "LEVEL": ("0.5", "float", None),
        "ROUNDS": ("3", "int", None),
        "VERBOSE": ("False", "bool", None),
        "NAME": ("a b", None, None),
    }
    assert "left out: the variable API_TOKEN" in told
    assert "left out: the variable BRACES" in told
    assert "ghp_" not in told + json.dumps(document)


def test_one_that_says_nothing(project: Project, image: MakeImage) -> None:
    told, document = draft(project, "image", image({}))
    assert document["name"] == "coopery-test-spec"
    for word in ("no inputs were found", "no outputs were found", "add a `command`", "describe it"):
        assert word in told


def test_folders_that_are_in_each_others_way_become_one_channel(
    project: Project, image: MakeImage
) -> None:
    env = "ENV IN_DIR=/data OUT_DIR=/data/out\n"
    _, document = draft(project, "image", image({}, None, env))
    (template,) = document["templates"]
    assert [c["mounted_path"] for c in template["inputs"] + template["outputs"]] == ["/data"]
    assert {s["name"] for s in template["env"]} == {"IN_DIR", "OUT_DIR"}


def test_the_older_convention(project: Project, image: MakeImage) -> None:
    env = "ENV LEVEL=2 OPERATOR_IN_DIR=ignored\n"
    told, document = draft(project, "legacy", image({}, None, env))
    (template,) = document["templates"]
    values = {s["name"]: s["value"] for s in template["env"]}
    assert values["WORKFLOW_DIR"].startswith("/")
    item = f"{values['WORKFLOW_DIR']}/{values['BATCH_NAME']}/item"
    assert template["inputs"][0]["mounted_path"] == f"{item}/{values['OPERATOR_IN_DIR']}"
    assert template["outputs"][0]["mounted_path"] == f"{item}/{values['OPERATOR_OUT_DIR']}"
    assert values["LEVEL"] == "2" and values["OPERATOR_IN_DIR"] != "ignored"
    assert item in told


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--from", "imgae", "x"], "did you mean 'image'?"),
        (["--from", "image"], "--from KIND SOURCE"),
        (["x"], "--from KIND SOURCE"),
        (["--from", "image", "x", "--python"], "--from KIND SOURCE"),
    ],
)
def test_what_is_not_understood(project: Project, arguments: list[str], word: str) -> None:
    answer = project.coopery("init", *arguments)
    assert answer.exit_code == 2 and word in answer.stderr
    assert not list(project.root.iterdir())


def test_nothing_is_overwritten(project: Project, image: MakeImage) -> None:
    project.write(FILE, "mine")
    answer = project.coopery("init", "--from", "image", image({}))
    assert answer.exit_code == 2 and "[path-exists]" in answer.stderr
    assert project.read(FILE) == "mine"


@pytest.mark.parametrize("name", ["API_TOKEN", "DB_PASSWORD", "SECRET", "ACCESS_KEY", "MQTT_PASS"])
def test_what_its_name_calls_a_secret_is_left_out(
    project: Project, image: MakeImage, name: str
) -> None:
    env = f"ENV {name}=test KEY_COLUMN=id TOKENIZER=bert COMPASS=north\n"
    told, document = draft(project, "image", image({}, {}, env))
    (template,) = document["templates"]
    assert [s["name"] for s in template["env"]] == ["KEY_COLUMN", "TOKENIZER", "COMPASS"]
    assert f"left out: the variable {name}, which looks like a secret" in told
