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


def test_what_a_second_attempt_finds_is_counted_anew(project: Project) -> None:
    data = project.root / "data"
    data.mkdir()
    (data / "a.txt").write_text("123")
    rule = {"scale_factor": 1000000, "type": "limit", "mode": "sum"}
    script = f"test -e {data}/b.txt && exit 0; printf 45 > {data}/b.txt; exit 1"
    template: Any = {
        **SPECIFICATION["templates"][0],  # type: ignore[dict-item]
        "inputs": [{"name": "texts", "mounted_path": "/data/texts", "scale_rule": rule}],
        "command": ["sh", "-c", script],
    }
    (project.root / "pc.json").write_text(json.dumps({**SPECIFICATION, "templates": [template]}))
    project.write(
        "recipe.toml",
        """
        [image.i]
        specification = "pc.json"
        [task.t]
        template = "i#copy"
        always = true
        retries = 1
        inputs.texts = { path = "data", bind = true }
        outputs.copies = {}
        """,
    )
    # What the first attempt had reserved is free for the second.
    answer = project.coopery("run", "-r", "local", "--json", "--capacity", "memory=7000000")
    assert answer.exit_code == 0, answer.stderr
    (step,) = (s for s in answer.json["steps"] if s["step"] == "t")
    assert step["facts"]["attempts"] == 2
    assert step["facts"]["scaled"]["limit"] == 5000000
