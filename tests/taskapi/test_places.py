"""Where the data of a task.json lies: what its folders are called, and which it may not have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coopery.testing import Project

SPECIFICATION = {
    "name": "copies",
    "description": "Copies",
    "templates": [
        {
            "identifier": "copy",
            "description": "Copies",
            "inputs": [{"name": "texts", "mounted_path": "/data/texts"}],
            "outputs": [{"name": "copies", "mounted_path": "/data/copies"}],
            "command": ["sh", "-c", "cp /data/texts/* /data/copies/"],
        }
    ],
}
LOCAL = ("-r", "local", "--specification", "pc.json")


@pytest.fixture
def copies(project: Project) -> Any:
    """Runs a task.json with these folders under `local`; what it answered."""
    (project.root / "pc.json").write_text(json.dumps(SPECIFICATION))

    def run(source: Any, target: Any, *more: str) -> Any:
        task = {
            "name": "x",
            "image": "not-there:1",
            "taskTemplate": "copy",
            "inputs": [{"name": "texts", "volume_source": {"host_path": str(source)}}],
            "outputs": [{"name": "copies", "volume_source": {"host_path": str(target)}}],
        }
        (project.root / "t.json").write_text(json.dumps(task))
        return project.coopery("run", "-f", "t.json", *LOCAL, *more)

    for name in ("one", "two"):
        (project.root / name).mkdir()
        (project.root / name / "a.txt").write_text("a\n")
    return run


def test_names_of_folders_run_nothing_again(project: Project, copies: Any) -> None:
    first = copies(project.root / "one", project.root / "out", "--remember")
    assert (first.exit_code, "start    x" in first.stderr) == (0, True)
    again = copies(project.root / "two", project.root / "elsewhere", "--remember")
    assert (again.exit_code, "start    x" in again.stderr) == (0, False)
    assert (project.root / "elsewhere/a.txt").read_text() == "a\n"
    (project.root / "two/a.txt").write_text("b\n")
    other = copies(project.root / "two", project.root / "elsewhere", "--remember")
    assert (other.exit_code, "start    x" in other.stderr) == (0, True)


@pytest.mark.parametrize("inside", [".", "runs", "link"])
def test_no_output_lies_in_the_home_folder(project: Project, copies: Any, inside: str) -> None:
    target = project.home / inside
    project.home.mkdir(exist_ok=True)
    if inside == "link":
        target = project.root / "link"
        target.symlink_to(project.home)
    answer = copies(project.root / "one", target)
    assert answer.exit_code == 1
    assert "[bad-destination]" in answer.stderr and "keeps what it remembers" in answer.stderr
    assert not list(project.home.glob("**/a.txt"))


def test_templates_leave_the_variables_of_coopery(project: Project, copies: Any) -> None:
    template: Any = dict(SPECIFICATION["templates"][0])  # type: ignore[arg-type]
    template["env"] = [{"name": "COOPERY_INPUT_TEXTS", "value": "/etc"}]
    (project.root / "pc.json").write_text(json.dumps({**SPECIFICATION, "templates": [template]}))
    answer = copies(project.root / "one", project.root / "out")
    assert answer.exit_code == 2
    assert "[bad-variable]" in answer.stderr
