"""Small images that say what they can do, or do not."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Answer, Project
from coopery_docker.notes import HOME, STEP, home_id

from .documents import write

MakeImage = Callable[..., str]
Sweep = Callable[[Path], None]


@pytest.fixture
def image(sdk_engine: Any) -> Iterator[MakeImage]:
    """Makes small images of files at their root and labels; they are gone afterwards."""
    made: list[str] = []

    def make(files: dict[str, str], labels: dict[str, str] | None = None, more: str = "") -> str:
        files = {"Dockerfile": f"FROM scratch\nCOPY . /\n{more}", **files, ".any": "x"}
        tag = f"coopery-test-spec:{uuid.uuid4().hex[:12]}"
        build(sdk_engine, files, tag, labels)
        made.append(tag)
        return tag

    yield make
    for tag in made:
        sdk_engine.remove_image(tag, force=True)


PROBE = Path(__file__).with_name("probe.py")
PROBES: dict[str, Any] = {
    "name": "probes",
    "description": "Tells what it sees, and does what it is told",
    "templates": [
        {
            "identifier": "copy",
            "description": "Copies a folder",
            "env": [
                {"name": "MODE", "value": "fast", "choices": ["fast", "exact"]},
                {"name": "DEPTH", "value": "2", "type": "int"},
                {"name": "FORMAT", "value": "csv", "adjustable": False},
            ],
            "inputs": [
                {
                    "name": "texts",
                    "mounted_path": "/data/texts",
                    "scale_rule": {
                        "scale_factor": 25,
                        "type": "limit",
                        "mode": "sum",
                        "target_regex": ".*\\.txt",
                    },
                }
            ],
            "outputs": [{"name": "copies", "mounted_path": "/data/copies"}],
            "command": [
                *("python3", "/app/probe.py", "copy:/data/texts:/data/copies"),
                "env:/data/copies/env:MODE:DEPTH:FORMAT:EXTRA",
            ],
            "resources": {"limits": {"memory": "64Mi", "cpu": "500m", "shm": "16Mi"}},
        },
        {"identifier": "look", "description": "Looks around, by the image's own command"},
    ],
}
"""The specification of the image `probes`."""
DOCKERFILE = """
FROM python:3.11-slim
COPY probe.py /app/probe.py
COPY processing-container.json /
WORKDIR /app
ENTRYPOINT ["python3", "probe.py"]
CMD ["by-itself"]
ENV FROM_IMAGE=yes
"""


def build(
    engine: Any, files: Mapping[str, str], tag: str, labels: Mapping[str, str] | None = None
) -> str:
    """Build an image of these files, one of which is the Dockerfile; its id.

    Without the engine's cache: who removes an image would take from others what they share.
    """
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    content.seek(0)
    told = engine.build(
        fileobj=content,
        custom_context=True,
        tag=tag,
        rm=True,
        nocache=True,
        labels={"coopery.test": "taskapi"} if labels is None else labels,
        decode=True,
    )
    lines = list(told)
    assert not [line for line in lines if "error" in line], lines
    found: str = engine.inspect_image(tag)["Id"]
    return found


def probe_files(specification: Any = None) -> dict[str, str]:
    """What the image `probes` is built of."""
    return {
        "Dockerfile": DOCKERFILE,
        "probe.py": PROBE.read_text("utf-8"),
        "processing-container.json": json.dumps(specification or PROBES),
    }


@pytest.fixture(scope="session")
def probes(sdk_engine: Any) -> Iterator[str]:
    """The reference of an image that does what `probe.py` says, and has the templates `PROBES`."""
    tag = f"coopery-test-probes:{uuid.uuid4().hex[:12]}"
    build(sdk_engine, probe_files(), tag)
    yield tag
    sdk_engine.remove_image(tag, force=True)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A project with `task.json`, data for it, and an engine that runs it."""

    project: Project
    image: str
    engine: Any

    @property
    def data(self) -> Path:
        """A folder with two texts of 30 bytes together, and another file."""
        return self.project.root / "data"

    @property
    def out(self) -> Path:
        """A folder that is not there yet."""
        return self.project.root / "made" / "out"

    def task(self, **changes: Any) -> dict[str, Any]:
        """A task of the template `copy`, with these keys changed."""
        return {
            "name": "Copy them",
            "image": self.image,
            "taskTemplate": "copy",
            "inputs": [bind("texts", self.data)],
            "outputs": [bind("copies", self.out)],
            **changes,
        }

    def looking(self, *does: str, **template: Any) -> dict[str, Any]:
        """A task that has its template itself, whose probe does what is said."""
        inline = {"identifier": "own", "description": "Its own", **template}
        inline.setdefault("command", ["python3", "/app/probe.py", *does])
        return {"name": "Copy them", "image": self.image, "taskTemplate": inline}

    def coopery(self, task: Mapping[str, Any], *arguments: str, **options: Any) -> Answer:
        """`run -f task.json --json` of this task."""
        write(self.project.root / "task.json", task)
        return self.project.coopery("run", "-f", "task.json", "--json", *arguments, **options)

    def run(self, task: Mapping[str, Any], *arguments: str, **options: Any) -> dict[str, Any]:
        """The record of the task's step, which must succeed."""
        answer = self.coopery(task, *arguments, **options)
        assert answer.exit_code == 0, answer.stderr
        return step_of(answer)

    def seen(self, task: Mapping[str, Any], *arguments: str, **options: Any) -> dict[str, Any]:
        """What the probe has seen."""
        return report_of(self.run(task, *arguments, **options))

    def start(self, task: Mapping[str, Any], *arguments: str) -> subprocess.Popen[str]:
        """Start the run of a task that waits."""
        write(self.project.root / "task.json", task)
        return self.project.start("run", "-f", "task.json", *arguments)

    def container(self, run: subprocess.Popen[str]) -> dict[str, Any]:
        """The container of a run that is under way, as the engine inspects it."""
        label = f"{HOME}={home_id(self.project.home)}"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and run.poll() is None:
            for found in self.engine.containers(filters={"label": [label, STEP]}):
                inspected: dict[str, Any] = self.engine.inspect_container(found["Id"])
                return inspected
            time.sleep(0.05)
        raise AssertionError(f"there is no container: {run.communicate() if run.poll() else ''}")


def bind(channel: str, path: Path | str, **more: Any) -> dict[str, Any]:
    """A channel of a task with its data."""
    return {"name": channel, "volume_source": {"host_path": str(path)}, **more}


def step_of(answer: Answer) -> dict[str, Any]:
    """The one task of a run of a task.json."""
    (step,) = (step for step in answer.json["steps"] if step["kind"] == "task")
    return dict(step)


def report_of(step: Mapping[str, Any]) -> dict[str, Any]:
    """What the probe of a step has seen."""
    first = Path(step["log"]).read_text("utf-8").splitlines()[0]
    found: dict[str, Any] = json.loads(first)
    return found


@pytest.fixture
def bench(project: Project, probes: str, sdk_engine: Any, sweep: Sweep) -> Bench:
    """What a test of runs needs; what it leaves in the engine is removed afterwards."""
    sweep(project.home)
    project.write("data/a.txt", "a" * 10)
    project.write("data/deep/b.txt", "b" * 20)
    project.write("data/c.csv", "c" * 1000)
    return Bench(project=project, image=probes, engine=sdk_engine)
