"""Commands about images: which runtime is meant, where none with images is chosen."""

from __future__ import annotations

import pytest

import coopery_toml
from coopery.errors import RecipeError
from coopery.hooks import hookimpl
from coopery.opening import Request, open_recipe
from coopery.options import CoreOptions, Settings, Sourced
from coopery.plugins import Plugins
from coopery.testing import Project


class Cellar:
    """A third party's runtimes: one with bases and one without; it knows no other plugin."""

    def __init__(self, *names: str) -> None:
        self.names = names

    @hookimpl
    def runtime_names(self) -> list[str]:
        return ["barrow", *self.names]

    @hookimpl
    def wants_bases(self, runtime: str) -> bool | None:
        return True if runtime in self.names else None


def runtime_of(project: Project, plugin: object, chosen: str | None, source: str) -> str:
    plugins = Plugins([("toml", coopery_toml), ("cellar", plugin)])
    settings = Settings({CoreOptions: {"runtime": Sourced(chosen, source)}})
    request = Request(bases=True, cwd=project.root)
    return open_recipe(request, plugins, settings).runtime


@pytest.mark.parametrize(
    ("defaults", "chosen", "source", "found"),
    [
        ("", None, "default", "kiln"),  # though there is no runtime local, here
        ("", "barrow", "environment", "kiln"),
        ("", "oven", "flag", "oven"),
        ('defaults.runtime = "oven"', None, "default", "oven"),
        ('defaults.runtime = "barrow"', None, "default", "kiln"),
    ],
)
def test_a_runtime_with_bases_is_found(
    project: Project, defaults: str, chosen: str | None, source: str, found: str
) -> None:
    project.write("recipe.toml", defaults)
    assert runtime_of(project, Cellar("oven", "kiln"), chosen, source) == found


@pytest.mark.parametrize(("names", "hint"), [(("kiln",), "say -r kiln"), ((), "no plugin here")])
def test_one_without_is_refused(project: Project, names: tuple[str, ...], hint: str) -> None:
    project.write("recipe.toml", "")
    with pytest.raises(RecipeError) as error:
        runtime_of(project, Cellar(*names), "barrow", "flag")
    [problem] = error.value.problems
    assert problem.slug == "runtime-without-images" and hint in (problem.hint or "")
