"""The example recipes, driven as a user drives them: by the installed command, on copies."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Answer, call

RECIPES = Path(__file__).parents[2] / "recipes"
FITS = tuple(f"fit@fold={fold}" for fold in (0, 1, 2))
TASKS = ("prepare", *FITS, "score")

# One worker runs all of this file, so that one environment is made for all of it.
pytestmark = pytest.mark.xdist_group("examples")


@dataclass(frozen=True, kw_only=True)
class Project:
    """A copy of an example with a home folder of its own or a shared one."""

    folder: Path
    home: Path
    file: str = "recipe.toml"
    env: Mapping[str, str] = field(default_factory=dict)

    def call(self, *arguments: str, code: int = 0) -> Answer:
        """Run `coopery` on this project's recipe; it must exit with `code`."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("COOPERY_")}
        env |= {"COOPERY_HOME": str(self.home), **self.env}
        command, *rest = arguments
        ended = call(command, "-f", self.file, *rest, cwd=self.folder, env=env)
        assert ended.exit_code == code, ended.stdout + ended.stderr
        return ended

    def steps(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """The steps of `coopery run --json`, by name."""
        document = json.loads(self.call("run", "--json", *arguments).stdout)
        return {step["step"]: step for step in document["steps"]}

    def tasks(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """The task steps of `coopery run --json`, by name."""
        found = self.steps(*arguments)
        return {name: step for name, step in found.items() if step["kind"] == "task"}

    def ran(self, *arguments: str) -> set[str]:
        """The tasks that a run performed."""
        return {name for name, step in self.tasks(*arguments).items() if not step["cached"]}

    def forecasts(self, *arguments: str) -> dict[str, str]:
        """What `--dry-run` says of each task."""
        found = self.steps("--dry-run", *arguments)
        return {name: s["forecast"] for name, s in found.items() if s["kind"] == "task"}

    def keys(self, *arguments: str) -> dict[str, str]:
        """The key of every task of a run."""
        return {name: step["key"] for name, step in self.tasks(*arguments).items()}

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text that stands exactly once in a file."""
        path = self.folder / file
        text = path.read_text("utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), "utf-8")


def copy(name: str, to: Path) -> Path:
    """A clean copy of an example, without what a run left behind."""
    ignored = shutil.ignore_patterns("build", "__pycache__")
    shutil.copytree(RECIPES / name, to, ignore=ignored)
    return to


def outputs(project: Project) -> dict[str, bytes]:
    """The delivered files, by name."""
    return {p.name: p.read_bytes() for p in sorted((project.folder / "build").iterdir())}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Penguins, run once; never changed, so that what it made serves all tests."""
    folder = tmp_path_factory.mktemp("examples")
    project = Project(folder=copy("penguins", folder / "made"), home=folder / "home")
    project.call("run")
    return project


@pytest.fixture
def penguins(made: Project, tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Makes further copies of penguins that share the home of the first."""

    def make(name: str = "penguins", file: str = "recipe.toml", **env: str) -> Project:
        folder = copy("penguins", tmp_path / name)
        return Project(folder=folder, home=made.home, file=file, env=env)

    yield make


def test_hello_makes_its_outputs_then_nothing(tmp_path: Path) -> None:
    hello = Project(folder=copy("hello", tmp_path / "hello"), home=tmp_path / "home")
    first = hello.steps()
    assert outputs(hello) == {"greeting.txt": b"Hello, world!\n", "shout.txt": b"HELLO, WORLD!\n"}
    assert [step["cached"] for step in first.values()] == [False, False]
    assert all("unpinned" in step["notes"] for step in first.values())
    again = hello.steps()
    assert [step["cached"] for step in again.values()] == [True, True]
    assert {n: s["key"] for n, s in again.items()} == {n: s["key"] for n, s in first.items()}


def test_hello_parameter_is_overridden_and_remembered(tmp_path: Path) -> None:
    hello = Project(folder=copy("hello", tmp_path / "hello"), home=tmp_path / "home")
    hello.call("run")
    assert hello.ran("--set", "greet.who=cooper") == {"greet", "shout"}
    assert outputs(hello)["shout.txt"] == b"HELLO, COOPER!\n"
    assert hello.ran() == set()
    assert outputs(hello)["shout.txt"] == b"HELLO, WORLD!\n"


def test_hello_typo_names_the_nearest_parameter(tmp_path: Path) -> None:
    hello = Project(folder=copy("hello", tmp_path / "hello"), home=tmp_path / "home")
    hello.edit("recipe.toml", "{params.who}", "{params.woh}")
    story = hello.call("run", code=2).stderr
    assert "unknown-placeholder" in story
    assert "recipe.toml:5" in story
    assert "'who'" in story
    assert not (tmp_path / "home" / "objects").exists()


def test_penguins_outputs_are_there_and_right(made: Project) -> None:
    found = outputs(made)
    assert sorted(found) == ["metrics.json", "penguins.png", "table.csv"]
    rows = found["table.csv"].decode().splitlines()
    assert len(rows) == 1 + 342
    assert rows[0] == "species,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g,fold"
    metrics = json.loads(found["metrics.json"])
    assert metrics["rows"] == sum(row.rpartition(",")[2] in "012" for row in rows[1:])
    assert sorted(metrics["accuracy"]) == ["fold=0", "fold=1", "fold=2"]
    assert metrics["mean"] > 0.9
    assert found["penguins.png"].startswith(b"\x89PNG\r\n\x1a\n")
    assert (made.folder / "recipe.lock").is_file()


@pytest.mark.skipif(
    (sys.version_info[:2], platform.machine()) != ((3, 11), "x86_64"),
    reason="the locks of the examples are for Python 3.11 on x86_64",
)
@pytest.mark.parametrize("name", ["recipe.toml", "recipe_commands.py", "recipe_functions.py"])
def test_lock_of_the_example_holds(penguins: Callable[..., Project], name: str) -> None:
    penguins(file=name).call("lock", "--check")


def test_second_run_recalls_every_step(penguins: Callable[..., Project]) -> None:
    project = penguins()
    project.call("run")
    again = project.steps()
    assert set(TASKS) <= set(again)
    assert all(step["cached"] for step in again.values())
    assert all(step["reason"]["code"] == "cached" for step in again.values())
    assert {step["state"] for step in again.values()} == {"succeeded"}


def test_deleted_output_is_put_back_without_running(penguins: Callable[..., Project]) -> None:
    project = penguins()
    project.call("run")
    before = outputs(project)
    shutil.rmtree(project.folder / "build")
    assert project.ran() == set()
    assert outputs(project) == before


def test_why_names_the_run_and_then_the_change(penguins: Callable[..., Project]) -> None:
    project = penguins()
    run = json.loads(project.call("run", "--json").stdout)
    made_by = {step["step"]: step["made_by"] for step in run["steps"]}
    assert made_by["score"] in project.call("why", "score").stdout
    seed = ("--set", "prepare.seed=7")
    assert "parameter seed changed: 0 -> 7" in project.call("why", "prepare", *seed).stdout
    assert "depends on prepare" in project.call("why", "score", *seed).stdout


def test_touched_but_equal_input_runs_nothing(penguins: Callable[..., Project]) -> None:
    project = penguins()
    project.call("run")
    data = project.folder / "data" / "penguins.csv"
    content = data.read_bytes()
    data.unlink()
    data.write_bytes(content)
    os.utime(data, (1, 1))
    assert project.ran() == set()


def test_readme_edit_runs_no_task(penguins: Callable[..., Project]) -> None:
    project = penguins()
    project.call("run")
    with (project.folder / "README.md").open("a") as readme:
        readme.write("\nOne more line.\n")
    assert project.ran() == set()


def test_source_edit_runs_the_tasks_again(penguins: Callable[..., Project]) -> None:
    project = penguins()
    project.call("run")
    project.edit(
        "src/penguins/fit.py", 'print(f"fold {fold}: fitted', 'print(f"FOLD {fold}: fitted'
    )
    # The program is another, so every task that holds it runs; what it makes is the same, though.
    before = outputs(project)
    assert project.ran() == set(TASKS)
    assert outputs(project) == before


def test_added_fold_runs_that_fold_and_score_only(penguins: Callable[..., Project]) -> None:
    project = penguins()
    project.call("run")
    project.edit("recipe.toml", "matrix.fold = [0, 1, 2]", "matrix.fold = [0, 1, 2, 3]")
    assert project.ran() == {"fit@fold=3", "score"}
    assert sorted(json.loads(outputs(project)["metrics.json"])["accuracy"]) == [
        f"fold={fold}" for fold in range(4)
    ]


def test_changed_data_with_equal_table_stops_the_wave(penguins: Callable[..., Project]) -> None:
    project = penguins()
    project.call("run")
    # A row without measurements is dropped by prepare, so its table stays what it was.
    with (project.folder / "data" / "penguins.csv").open("a") as data:
        data.write("Gentoo,Biscoe,NA,NA,NA,NA,NA,2009\n")
    # The data lies in the project, whose wheel is therefore built again, and so all may be spared.
    forecast = project.steps("--dry-run")
    assert forecast["wheel penguins"]["forecast"] == "run"
    assert {forecast[name]["forecast"] for name in TASKS} == {"depends"}
    assert project.ran() == {"prepare"}


def test_dry_run_is_true_and_changes_nothing(penguins: Callable[..., Project]) -> None:
    project = penguins()
    lock = (project.folder / "recipe.lock").read_bytes()
    seed = ("--set", "prepare.seed=11")
    forecast = project.forecasts(*seed)
    assert forecast["prepare"] == "run"
    assert {forecast[name] for name in (*FITS, "score")} == {"depends"}
    assert not (project.folder / "build").exists()
    assert (project.folder / "recipe.lock").read_bytes() == lock
    assert project.ran(*seed) == set(TASKS)
    assert set(project.forecasts(*seed).values()) == {"cached"}


def test_target_runs_only_what_it_needs(penguins: Callable[..., Project]) -> None:
    project = penguins()
    assert set(project.tasks("fit@fold=1")) == {"prepare", "fit@fold=1"}
    assert set(project.tasks("build/table.csv")) == {"prepare"}


def test_python_commands_have_equal_keys(made: Project, penguins: Callable[..., Project]) -> None:
    expected = made.keys()
    assert set(expected) == set(TASKS)
    assert penguins(file="recipe_commands.py").keys() == expected


def test_python_functions_make_equal_bytes(made: Project, penguins: Callable[..., Project]) -> None:
    project = penguins(file="recipe_functions.py")
    found = project.tasks()
    assert set(found) == set(TASKS)
    assert outputs(project) == outputs(made)
    assert {step["key"] for step in found.values()}.isdisjoint(made.keys().values())
    assert project.ran() == set()


def test_keys_are_equal_in_another_checkout_home_and_process(
    made: Project, penguins: Callable[..., Project], tmp_path: Path
) -> None:
    expected = made.keys()
    elsewhere = penguins("a different folder", PYTHONHASHSEED="4711", TZ="Asia/Tokyo")
    assert elsewhere.keys() == expected
    alone = Project(folder=elsewhere.folder, home=tmp_path / "another home")
    shutil.rmtree(alone.folder / "build")
    found = alone.tasks()
    assert {name: step["key"] for name, step in found.items()} == expected
    assert not any(step["cached"] for step in found.values())
    assert outputs(alone) == outputs(made)


def test_function_keys_are_equal_under_another_hash_seed(
    penguins: Callable[..., Project],
) -> None:
    first = penguins("one", file="recipe_functions.py", PYTHONHASHSEED="1")
    second = penguins("two", file="recipe_functions.py", PYTHONHASHSEED="2")
    assert first.keys() == second.keys()


def test_penguins_are_the_same_in_containers(
    made: Project, penguins: Callable[..., Project], engine: Any, sweep: Any
) -> None:
    contained = penguins("contained")
    sweep(contained.home)
    # The lock of the example holds no base: which one this machine has, nobody else can know.
    assert contained.ran("-r", "docker") == set(TASKS)
    assert outputs(contained) == outputs(made)
    assert contained.ran("-r", "docker") == set()
