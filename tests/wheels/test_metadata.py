"""What projects and wheel files tell the lock, and what is refused before anything runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import coopery_wheels
from coopery.dependencies import Contribution, IndexOptions, LocalDistribution
from coopery.errors import Problem, RecipeError
from coopery.model import Project, Recipe
from coopery.options import LockPolicy, Settings
from coopery.schemas import recipe_schema
from coopery.secrets import no_secrets
from coopery.shapes import convert
from coopery_wheels import metadata

from .conftest import HATCH, Bench, make_backend, make_wheel, write


def collect(
    bench: Bench, recipe: Recipe, before: tuple[Contribution, ...] = ()
) -> tuple[LocalDistribution, ...]:
    image, settings = recipe.images["a"], Settings({})
    found = coopery_wheels.collect_requirements(
        recipe, image, bench.home, LockPolicy.RENEW, before, settings, no_secrets()
    )
    assert found is not None
    return found.locals


def lines(local: LocalDistribution) -> list[str]:
    return [requirement.line for requirement in local.requires]


def test_static_metadata_with_lines(bench: Bench) -> None:
    write(bench.root, {"pyproject.toml": HATCH})
    (local,) = collect(bench, bench.recipe(Project(".", extras=("all",))))
    assert (local.name, local.version, local.requires_python) == ("iris-kit", "1.2", ">=3.9")
    assert lines(local) == ["numpy>=1", 'rich; python_version < "3.8"', "pandas", "matplotlib"]
    source = HATCH.splitlines()
    for requirement in local.requires:
        assert requirement.origin == "iris-kit"
        assert requirement.place.line is not None
        assert requirement.line.split(";")[0] in source[requirement.place.line - 1]


def test_a_marker_on_an_own_extra_moves_to_its_lines(bench: Bench) -> None:
    text = HATCH.replace('"iris-kit[plot]"', "\"iris_kit[plot]; sys_platform == 'linux'\"")
    write(bench.root, {"pyproject.toml": text})
    (local,) = collect(bench, bench.recipe(Project(".", extras=("all",))))
    assert "matplotlib ; (sys_platform == 'linux')" in lines(local)


def test_wheel_files_tell_their_metadata(bench: Bench) -> None:
    headers = "Requires-Dist: numpy\nRequires-Dist: rich ; extra == 'x'\nRequires-Python: >=3.8\n"
    path = make_wheel(bench.root, headers=headers)
    (local,) = collect(bench, bench.recipe(wheels=(path.name,)))
    assert lines(local) == ["numpy"]
    assert local.requires_python == ">=3.8"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("a>=1", "a>=1"),
        ("a ; extra == 'x'", "a"),
        ('a ; extra == "other"', None),
        ("a ; python_version < '4' and extra == 'x'", "a ; python_version < '4'"),
        ("a ; python_version < '4' and extra == 'other'", None),
        (
            "a ; extra == 'X_' or extra == 'other'",
            "a ; python_version < '0' or python_version < '0'",
        ),
    ],
)
def test_extras_in_markers_are_decided(line: str, kept: str | None) -> None:
    found = metadata.parse_metadata(f"Name: a\nVersion: 1\nRequires-Dist: {line}\n", ("x",))
    assert [item.text for item in found.requires] == ([] if kept is None else [kept])


DYNAMIC = (
    HATCH.replace('version = "1.2"', 'dynamic = ["version"]')
    + """
[tool.hatch.version]
path = "iris_kit/__init__.py"
"""
)


def test_dynamic_metadata_is_prepared_once_per_content(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(bench.root, {"pyproject.toml": DYNAMIC, "iris_kit/__init__.py": '__version__ = "4"\n'})
    recipe = bench.recipe(".")
    (local,) = collect(bench, recipe)
    assert local.version == "4"
    assert local.requires[0].place.line is not None
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", None)
        assert collect(bench, recipe) == (local,)
        assert bench.steps(recipe)
    (bench.root / "iris_kit/__init__.py").write_text('__version__ = "5"\n')
    assert collect(bench, recipe)[0].version == "5"


def test_preparing_metadata_uses_the_images_indexes(bench: Bench) -> None:
    """`own-backend` is in a folder that only a requirements file names."""
    shelf = bench.root / "shelf"
    make_backend(shelf)
    text = '[build-system]\nrequires = ["own-backend"]\nbuild-backend = "own_backend"\n'
    write(bench.root / "lib", {"pyproject.toml": text})
    recipe = bench.recipe("lib")
    with pytest.raises(RecipeError) as caught:
        collect(bench, recipe)
    assert caught.value.problems[0].slug == "build-requires"
    index = IndexOptions(find_links=(str(shelf),), no_index=True)
    (local,) = collect(bench, recipe, (Contribution(index=index), Contribution()))
    assert (local.name, local.version) == ("made", "7")


def test_metadata_that_cannot_be_prepared(bench: Bench) -> None:
    write(bench.root, {"pyproject.toml": DYNAMIC})
    with pytest.raises(RecipeError) as caught:
        collect(bench, bench.recipe("."))
    assert caught.value.problems[0].slug == "metadata-failed"


def test_every_missing_path_at_once(bench: Bench) -> None:
    recipe = bench.recipe("no/such", "../gone", wheels=("a.whl",))
    problems = list(coopery_wheels.check(recipe))
    assert [p.slug for p in problems] == ["missing-path"] * 3
    assert "no/such" in problems[0].message
    assert str(bench.root / "no/such") in problems[0].message
    assert problems[2].place.key == ("image", "a", "wheels", 0)


@pytest.mark.parametrize(
    ("files", "slug"),
    [
        ({"readme.md": ""}, "not-a-project"),
        ({"pyproject.toml": "[tool.ruff]\n"}, "not-a-project"),
        ({"pyproject.toml": "[project\n"}, "invalid-toml"),
        ({"pyproject.toml": HATCH.replace(">=3.9", ">=3.9,<3.10")}, "requires-python"),
        ({"pyproject.toml": HATCH.replace(">=3.9", ">=3.99")}, "requires-python"),
    ],
)
def test_what_is_no_project_for_this_image(bench: Bench, files: dict[str, str], slug: str) -> None:
    write(bench.root / "lib", files)
    assert bench.slugs(bench.recipe("lib")) == [slug]


def test_unknown_extra_offers_the_nearest(bench: Bench) -> None:
    write(bench.root, {"pyproject.toml": HATCH})
    (problem,) = coopery_wheels.check(bench.recipe(Project(".", extras=("plott",))))
    assert (problem.slug, problem.hint) == ("unknown-extra", "did you mean 'plot'?")


def test_one_distribution_twice(bench: Bench) -> None:
    write(bench.root / "lib", {"pyproject.toml": HATCH.replace("Iris_Kit", "Tiny")})
    make_wheel(bench.root)
    recipe = bench.recipe("lib", wheels=("tiny-1.0-py3-none-any.whl",))
    assert bench.slugs(recipe) == ["duplicate-distribution"]


def test_the_same_path_twice_is_a_duplicate(bench: Bench) -> None:
    write(bench.root, {"pyproject.toml": HATCH})
    assert bench.slugs(bench.recipe(".", ".")) == ["duplicate-distribution"]


def test_a_link_out_of_the_project_is_refused(bench: Bench, tmp_path: Path) -> None:
    write(bench.root, {"pyproject.toml": HATCH})
    (bench.root / "data").symlink_to(tmp_path)
    with pytest.raises(RecipeError) as caught:
        bench.steps(bench.recipe("."))
    assert caught.value.problems[0].slug == "link-outside"


def test_recipes_may_be_short_or_long() -> None:
    (facet,) = [f for f in coopery_wheels.declare_facets() if f.key == "projects"]
    problems: list[Problem] = []
    value = convert([".", {"path": "lib", "extras": ["x"]}], facet.type, ("projects",), problems)
    assert value == (Project("."), Project("lib", extras=("x",)))
    assert problems == []
    assert Project(Path("lib"), extras=["x"]) == value[1]  # type: ignore[arg-type]
    assert recipe_schema([facet])["properties"]["image"]
