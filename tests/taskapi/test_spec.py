"""`coopery spec`, and `explain` without a file: specifications in images that never start."""

from __future__ import annotations

import json
import time
from typing import Any

from registries import Registry

from coopery.testing import Project
from coopery_taskapi.finding import LABEL

from .conftest import MakeImage
from .documents import CONTAINER, TASK, put, write

FILE = "processing-container.json"


def test_a_file_at_the_root(project: Project, image: MakeImage) -> None:
    tag = image({FILE: json.dumps(CONTAINER)})
    answer = project.coopery("spec", tag)
    assert answer.exit_code == 0
    assert answer.json == CONTAINER
    assert answer.stderr == f"from {tag}:/{FILE}, from the container engine\n"
    (project.root / FILE).write_text(answer.stdout)
    assert project.coopery("validate", FILE).exit_code == 0


def test_an_image_learns_nothing_of_the_environment(project: Project, image: MakeImage) -> None:
    given = put(CONTAINER, "/templates/1/command", ["echo", "{{ env.PRECIOUS }}", "{{ env.GONE }}"])
    tag = image({FILE: json.dumps(given)})
    assert project.coopery("spec", tag, env={"PRECIOUS": "mine"}).json == given
    task = {"name": "x", "image": tag, "taskTemplate": "draw"}
    write(project.root / "t.json", task)
    answer = project.coopery("explain", "t.json", env={"PRECIOUS": "mine"})
    assert "echo '{{ env.PRECIOUS }}' '{{ env.GONE }}'  (template)" in answer.stdout


def test_a_label_comes_first(project: Project, image: MakeImage) -> None:
    other = {**CONTAINER, "name": "labelled"}
    tag = image({FILE: json.dumps(CONTAINER)}, {LABEL: json.dumps(other)})
    assert project.coopery("spec", tag).json["name"] == "labelled"


def test_an_image_that_says_nothing(project: Project, image: MakeImage) -> None:
    answer = project.coopery("spec", image({}))
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert (
        "[no-specification]" in answer.stderr and "COPY processing-container.json" in answer.stderr
    )


def test_what_is_wrong_in_it_is_told_by_pointers(project: Project, image: MakeImage) -> None:
    wrong = put(put(CONTAINER, "/templates/0/env/0/value", 3), "/nmae", "x")
    tag = image({FILE: json.dumps(wrong)})
    answer = project.coopery("spec", tag)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert f"{tag}:/{FILE}:1 (/templates/0/env/0/value)" in answer.stderr
    assert "(/nmae)" in answer.stderr
    garbage = project.coopery("spec", image({FILE: "{"}))
    assert garbage.exit_code == 2 and "[invalid-json]" in garbage.stderr


def test_no_container_is_started(project: Project, image: MakeImage, sdk_engine: Any) -> None:
    tag = image({FILE: json.dumps(CONTAINER)})
    since = int(time.time())
    assert project.coopery("spec", tag).exit_code == 0
    known = (tag, sdk_engine.inspect_image(tag)["Id"])
    events = sdk_engine.events(
        since=since, until=int(time.time()) + 1, decode=True, filters={"type": "container"}
    )
    actions = {event["Action"] for event in events if event["from"] in known}
    assert "create" in actions and "start" not in actions
    left = sdk_engine.containers(all=True, filters={"ancestor": tag})
    assert left == []


def test_straight_from_a_registry_as_the_task_says(
    project: Project, image: MakeImage, sdk_engine: Any, registry: Registry
) -> None:
    """The credentials stand in the task: taken, told of, and shown nowhere."""
    registry.push(sdk_engine, image({FILE: json.dumps(CONTAINER)}), "spec", "1")
    config = {
        "type": "k8s",
        "registryUrl": f"https://{registry.host}/team",
        "registryUsername": registry.user,
        "registryPassword": registry.password,
    }
    data = project.root / "data"
    data.mkdir()
    task = put(TASK, "/config", config)
    task = put(task, "/image", f"{registry.host}/spec:1")
    for index in (0, 1):
        task = put(task, f"/inputs/{index}/volume_source/host_path", str(data))
    write(project.root / "t.json", task)
    # Docker's own configuration knows nobody there.
    env = {"DOCKER_CONFIG": str(project.root / "none")}
    answer = project.coopery("explain", "t.json", env=env)
    assert answer.exit_code == 0, answer.stderr
    assert f"from {registry.host}" in answer.stdout
    assert "[password-as-text]" in answer.stderr
    assert registry.password not in answer.stdout + answer.stderr

    refused = put(task, "/config/registryPassword", "wrong-7f3a-wrong")
    write(project.root / "t.json", refused)
    answer = project.coopery("explain", "t.json", env=env)
    assert answer.exit_code == 3
    assert registry.host in answer.stderr and "wrong-7f3a" not in answer.stderr

    elsewhere = put(task, "/config/registryUrl", "registry.example")
    write(project.root / "t.json", elsewhere)
    answer = project.coopery("explain", "t.json", env=env)
    assert answer.exit_code == 3 and "[other-registry]" in answer.stderr


def test_an_image_that_is_nowhere(project: Project, registry: Registry) -> None:
    answer = project.coopery("spec", f"{registry.host}/gone:1")
    assert answer.exit_code == 3
    assert f"{registry.host}/gone:1" in answer.stderr
