"""Sources: chosen, laid under the working folder, refused where that would go wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

import coopery_sources
from coopery.dependencies import Layer, Lock
from coopery.errors import Problem
from coopery.model import Image, Output, Recipe, Task
from coopery.shapes import convert
from coopery.steps import FileSet, FileSource
from coopery.testing import Project
from coopery_lock.lockfile import Entry, write_lock
from coopery_sources import Source, Sources

from .test_files import write


def recipe_with(root: Path, *sources: Source, **tasks: Task) -> Recipe:
    image = Image(name="a", facets=(Sources(sources),))
    return Recipe(file=root / "recipe.toml", root=root, images={"a": image}, tasks=tasks)


def layer(recipe: Recipe) -> Layer:
    (found,) = coopery_sources.add_layers(
        recipe, recipe.images["a"], Lock(), recipe.root / ".coopery"
    )
    return found


def slugs(recipe: Recipe) -> list[str]:
    return [problem.slug for problem in coopery_sources.check(recipe)]


def test_folders_and_files_keep_their_place(tmp_path: Path) -> None:
    write(tmp_path, "app/a.py", "app/deep/b.py", "app/b.txt", "conf.toml")
    recipe = recipe_with(
        tmp_path, Source("app", include=("*.py",), exclude=("deep",)), Source("conf.toml")
    )
    assert slugs(recipe) == []
    (place, folder), (other, file) = layer(recipe).files
    assert (place, folder.role) == ("app", "source app")
    assert folder.source == FileSet(root=tmp_path / "app", files=("a.py",), shown="app")
    assert (other, file.role) == ("conf.toml", "source conf.toml")
    assert file.source == FileSource(path=tmp_path / "conf.toml", shown="conf.toml")


def test_to_moves_them(tmp_path: Path) -> None:
    write(tmp_path, "app/a.py")
    ((place, need),) = layer(recipe_with(tmp_path, Source("app", target="lib/x/"))).files
    assert (place, need.role) == ("lib/x", "source lib/x")


def test_outputs_lock_and_home_are_no_sources(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "out.csv", "recipe.lock", ".coopery/objects/x")
    task = Task(name="t", outputs={"o": Output(path="out.csv")})
    ((_, need),) = layer(recipe_with(tmp_path, Source("."), t=task)).files
    assert isinstance(need.source, FileSet)
    assert need.source.files == ("a.py",)


def test_the_lock_of_a_recipe_beside_is_no_source(tmp_path: Path) -> None:
    """Another file of such a name is one."""
    write(tmp_path, "a.py", "flake.lock")
    write_lock(tmp_path / "other.lock", (Entry(python="3.11", platforms=(), images=(), asked=()),))
    ((_, need),) = layer(recipe_with(tmp_path, Source("."))).files
    assert isinstance(need.source, FileSet)
    assert need.source.files == ("a.py", "flake.lock")


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([Source("gone")], ["missing-path"]),
        ([Source("gone"), Source("/etc")], ["missing-path", "outside-project"]),
        ([Source("../x")], ["outside-project"]),
        ([Source("link")], ["outside-project"]),
        ([Source("app", target="../x")], ["outside-project"]),
        ([Source("app", target="/x")], ["outside-project"]),
        ([Source("conf.toml", include=("x",))], ["not-a-folder"]),
        ([Source("app", include=("*.rs",))], ["no-files"]),
        ([Source("app"), Source("app")], ["layer-overlap"]),
        ([Source("app"), Source("conf.toml", target="app/a.py")], ["layer-overlap"]),
        ([Source("app"), Source("conf.toml", target="app/a.py/x")], ["layer-overlap"]),
        ([Source("app"), Source("conf.toml", target="app")], ["layer-overlap"]),
        ([Source("app"), Source("conf.toml", target="app/other.toml")], []),
        ([Source("secret")], ["credential-file", "credential-file"]),
        ([Source("secret", exclude=(".env", "*.pem"))], []),
        ([Source("secret", include=("*", ".env", "k.pem"))], []),
        ([Source("secret/.env")], []),
    ],
)
def test_check(tmp_path: Path, sources: list[Source], expected: list[str]) -> None:
    root = write(tmp_path / "r", "app/a.py", "conf.toml", "secret/.env", "secret/k.pem")
    write(root, "secret/credentials.py", "secret/.env.example", "secret/id_rsa.pub")
    (root / "link").symlink_to(tmp_path)
    assert slugs(recipe_with(root, *sources)) == expected


def test_a_link_out_of_a_source_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "app/a.py", "b.py")
    (tmp_path / "app/b.py").symlink_to("../b.py")
    assert slugs(recipe_with(tmp_path, Source("app"))) == ["link-outside"]


def test_recipes_may_be_short_or_long() -> None:
    (facet,) = coopery_sources.declare_facets()
    problems: list[Problem] = []
    raw = ["app", {"path": "x", "include": ["*.py"], "to": "y"}]
    value = convert(raw, facet.type, ("sources",), problems)
    assert value == (Source("app"), Source("x", include=("*.py",), target="y"))
    assert problems == []


@pytest.mark.parametrize(
    ("source", "item", "fine"),
    [
        ('"tool.py"', "tool.py", True),
        ('"tools"', "tools/tool.py", True),
        ('"."', "tool.py", True),
        ('{ path = "tools", to = "." }', "tool.py", True),
        ('{ path = "tool.py", to = "bin/run.py" }', "tool.py", False),
        ('"tools"', "tool.py", False),
    ],
)
def test_a_command_may_name_a_source_by_where_it_lies(
    project: Project, source: str, item: str, fine: bool
) -> None:
    for name in ("tool.py", "tools/tool.py"):
        project.write(name, "print('hello')")
    project.write(
        "recipe.toml",
        f"""
        [image.i]
        sources = [{source}]

        [task.a]
        image = "i"
        command = ["python", "{item}"]
        """,
    )
    answer = project.coopery("run")
    assert (answer.exit_code, answer.slugs) == ((0, ()) if fine else (2, ("undeclared-file",)))
