"""Which base an image begins with, and every way to say it wrongly (C1, C12)."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import coopery_images
from coopery.errors import RecipeError
from coopery.model import HOST_PYTHON, Task
from coopery.testing import Project, make_project
from coopery_images.nouns import BaseChoice, Families, Family, Gpu
from coopery_images.references import check_reference

from .conftest import Bench

TOOLS = Family(
    template="registry.example:5000/tools:{version}-nvidiacuda11.6.0-base-ubuntu20.04-python{python}",
    package="hypothesis",
    minimum="0.10.0",
)


def choose(
    bench: Bench,
    *facets: object,
    family: Family | None = TOOLS,
    given: tuple[str, ...] = (),
    python: str | None = "3.11",
) -> tuple[str, list[str]]:
    """The base's reference, and the warnings."""
    families = Families(items={"tools": family} if family else {})
    recipe = bench.recipe(*facets, recipe_facets=(families,), python=python)
    told: list[str] = []
    image = recipe.images["science"]
    found = coopery_images.choose_base(recipe, image, bench.settings(*given), told.append)
    assert isinstance(found, str)
    return found, told


def installed(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)


def slug_of(call: Callable[[], object]) -> tuple[str, str, str | None]:
    with pytest.raises(RecipeError) as caught:
        call()
    [problem] = caught.value.problems
    return problem.slug, problem.message, problem.hint


FAMILY = BaseChoice(family="tools")
FILLED = "registry.example:5000/tools:{}-nvidiacuda11.6.0-base-ubuntu20.04-python3.11"


def test_a_base_is_what_the_recipe_says(bench: Bench) -> None:
    assert choose(bench) == ("python:3.11-slim", [])
    assert choose(bench, python=None) == (f"python:{HOST_PYTHON}-slim", [])
    assert choose(bench, BaseChoice(reference="debian:12")) == ("debian:12", [])
    assert choose(bench, Gpu(wanted=False)) == ("python:3.11-slim", [])
    cuda, _ = choose(bench, Gpu(wanted=True))
    assert "cuda" in cuda
    assert cuda.endswith("py3.11")
    assert choose(bench, Gpu(wanted=True), BaseChoice(reference="debian:12"))[0] == "debian:12"


def test_a_recipe_may_define_the_family_for_gpus(bench: Bench) -> None:
    own = Families(items={"cuda": Family(template="own/cuda:py{python}")})
    recipe = bench.recipe(Gpu(wanted=True), recipe_facets=(own,))
    image = recipe.images["science"]
    found = coopery_images.choose_base(recipe, image, bench.settings(), lambda text: None)
    assert found == "own/cuda:py3.11"


def test_a_family_takes_the_installed_version(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, "0.17.0")
    assert choose(bench, FAMILY) == (FILLED.format("0.17.0"), [])


def test_an_older_version_gives_way_to_the_minimum(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As text, 0.9.1 would come after 0.10.0.
    installed(monkeypatch, "0.9.1")
    reference, [warning] = choose(bench, FAMILY)
    assert reference == FILLED.format("0.10.0")
    assert "hypothesis 0.9.1 is installed" in warning
    installed(monkeypatch, "0.10.0rc1")
    assert choose(bench, FAMILY)[0] == FILLED.format("0.10.0")
    installed(monkeypatch, "0.10.0+local")
    assert choose(bench, FAMILY) == (FILLED.format("0.10.0-local"), [])


@pytest.mark.parametrize("version", ["0.11.0", "latest"])
def test_a_version_can_be_overridden(
    bench: Bench, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, "0.9.1")
    assert choose(bench, FAMILY, family=replace(TOOLS, version=version)) == (
        FILLED.format(version),
        [],
    )
    assert choose(bench, FAMILY, given=(f"tools={version}",)) == (FILLED.format(version), [])
    # The option wins over the recipe.
    both = replace(TOOLS, version="0.12.0")
    assert choose(bench, FAMILY, family=both, given=(f"tools={version}",))[0] == FILLED.format(
        version
    )


def test_a_package_that_is_not_installed_is_an_error_with_its_mend(bench: Bench) -> None:
    missing = replace(TOOLS, package="no-such-package-here")
    slug, message, hint = slug_of(lambda: choose(bench, FAMILY, family=missing))
    assert slug == "base-package"
    assert "no-such-package-here is not installed here" in message
    assert hint is not None
    assert "--base-version tools=VERSION" in hint
    assert choose(bench, FAMILY, family=missing, given=("tools=1",))[0] == FILLED.format("1")


@pytest.mark.parametrize(
    ("given", "slug"),
    [("tools", "bad-option"), ("tool=1", "unknown-family"), ("tools=1 2", "bad-option"),
     ("tools=$X", "bad-option"), ("tools=", "bad-option")],
)  # fmt: skip
def test_an_override_that_is_none_is_refused(bench: Bench, given: str, slug: str) -> None:
    assert slug_of(lambda: choose(bench, FAMILY, given=(given,)))[0] == slug


@pytest.mark.parametrize("python", ["3.7", "3.1"])
def test_a_python_that_is_too_old_is_refused(bench: Bench, python: str) -> None:
    slug, message, _ = slug_of(lambda: choose(bench, python=python))
    assert slug == "unsupported-python"
    assert python in message


@pytest.mark.parametrize("reference", [
    "python:3.11-slim", "debian", "localhost/a", "localhost:5000/a/b:c", "a.b/c_d/e--f:T.a_G-1",
    "Host.example/a", "host:80/a__b.c", "python@sha256:" + "0" * 64, "a:b@sha256:" + "0" * 64,
    "nvcr.io/nvidia/pytorch:24.01-py3",
])  # fmt: skip
def test_references_that_are(reference: str) -> None:
    check_reference(reference)


@pytest.mark.parametrize("reference", [
    "", " python", "python ", "py thon", "python\n", "python\nRUN id", "python AS x", "Python:3",
    "a/B", "$BASE", "${BASE}", "a:$T", "a:", ":a", "a:b:c", "a@b", "a@sha256:00", "a//b", "/a",
    "a/", "-a", "a:-b", "a..b/c..d", "a:" + "x" * 129, "a" * 256, "scratch", "0" * 64,
    "--platform=x", "http://a/b", "a:b\x00", "é", "a\u2028b", "{version}", "#", "python:3.11\\",
    '"a"', "a%2fb",
])  # fmt: skip
def test_references_that_are_none(reference: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_reference(reference)


@given(st.text(max_size=20))
def test_whatever_passes_is_one_plain_word(text: str) -> None:
    try:
        check_reference(text)
    except ValueError:
        return
    assert text.isascii()
    assert not set(text) & set(" \t\n\r$\"'\\{}#<>=,")
    assert not text.startswith("-")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def test_everything_wrong_is_told_at_once_with_its_line(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [image.a]
        base = "Bad Name"
        [image.b]
        base = { family = "tolls" }
        [image.c]
        base = { family = "tools", reference = "debian" }
        [image.d]
        base = 3
        [family.tools]
        template = "a:{version}-{pyhton}"
        package = "x"
        [family.open]
        template = "a:{version}"
        [family.odd]
        template = "A B:{python}"
        minimum = "one"
        version = "a b"
        [task.t]
        command = "true"
        """,
    )
    answer = project.coopery("list")
    assert answer.exit_code == 2
    assert sorted(answer.slugs) == sorted(
        ["bad-reference", "unknown-family", "wrong-value", "wrong-type"]
        + ["bad-family"] * 5
        + ["bad-reference"]
    )
    told = answer.told("unknown-family")
    assert "recipe.toml:4" in told
    assert "did you mean 'tools'?" in told
    assert "recipe.toml:2" in answer.told("bad-reference") + answer.stderr


def test_a_base_of_another_python_is_an_error(bench: Bench) -> None:
    with pytest.raises(RecipeError) as caught:
        bench.blueprint(recipe=bench.recipe(python="3.12"))
    [problem] = caught.value.problems
    assert problem.slug == "base-python"
    assert "python:3.11-slim has Python 3.11, but the image says 3.12" in problem.message
    assert problem.hint is not None
    assert 'python = "3.11"' in problem.hint


def test_what_needs_python_needs_a_base_with_it(
    bench: Bench, wheel: Callable[..., Path], own_wheel: Callable[..., Path]
) -> None:
    from coopery_functions import Function

    bench.base = replace(bench.base, python=None, executable=None)
    assert bench.blueprint()
    task = Task(name="t", image="science", facets=(Function(target="a:b"),))
    called = replace(bench.recipe(), tasks={"t": task})
    for make in (
        lambda: bench.blueprint(bench.packages(wheel("alpha"))),
        lambda: bench.blueprint(bench.own(own_wheel("beta"))),
        lambda: bench.blueprint(recipe=called),
    ):
        slug, message, _ = slug_of(make)
        assert slug == "base-python"
        assert "has no Python" in message
