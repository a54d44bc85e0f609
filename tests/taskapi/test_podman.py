"""A task.json under Podman: the same as under Docker."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import registries

from coopery.testing import Project, make_project

from .conftest import bind, step_of
from .documents import write

pytestmark = pytest.mark.xdist_group("podman")
CHANGES = ['ENTRYPOINT ["/bin/cat"]', 'CMD ["/mark"]', "WORKDIR /bin", "ENV FROM_IMAGE=yes"]


@pytest.fixture
def entering(podman: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An image of Podman's that has an ENTRYPOINT and a CMD."""
    import docker

    monkeypatch.setenv("DOCKER_HOST", podman)
    client = docker.APIClient(podman, version="auto")
    name, tag = "entering", uuid.uuid4().hex[:8]
    data = registries.small_image("the mark\n")
    client.import_image_from_data(data, repository=f"{name}:{tag}", changes=CHANGES)
    yield f"{name}:{tag}"
    client.remove_image(f"{name}:{tag}", force=True)
    client.close()


def run(project: Project, image: str, **changes: Any) -> dict[str, Any]:
    template: dict[str, Any] = {
        "identifier": "x",
        "description": "x",
        "inputs": [{"name": "i", "mounted_path": "/data/i"}],
        "outputs": [{"name": "o", "mounted_path": "/data/o"}],
        "resources": {"limits": {"memory": "48Mi"}},
    }
    task: dict[str, Any] = {"name": "x", "image": image, "taskTemplate": template}
    task["inputs"] = [bind("i", project.root / "data")]
    task["outputs"] = [bind("o", project.root / "out")]
    write(project.root / "task.json", {**task, **changes})
    answer = project.coopery("run", "-f", "task.json", "--json")
    assert answer.exit_code == 0, answer.stderr
    return step_of(answer)


def test_a_command_takes_the_place_of_both(entering: str, tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.write("data/a.txt", "one")
    own = run(project, entering)
    assert own["command"] == "/bin/cat /mark"
    assert Path(own["log"]).read_text() == "the mark\n"
    script = "cat /data/i/a.txt > /data/o/b.txt; cat mark 2> /data/o/e || echo $FROM_IMAGE $PWD; "
    script += "echo x 2> /dev/null > /data/i/x || echo refused"
    given = run(project, entering, command=["/bin/sh", "-c", script])
    log = Path(given["log"]).read_text()
    assert "yes /bin\n" in log and "refused\n" in log
    assert (project.root / "out/b.txt").read_text() == "one"
    assert given["facts"]["exit_code"] == 0
