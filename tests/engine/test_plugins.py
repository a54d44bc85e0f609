"""The facade: order, errors that name the plugin, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pluggy
import pytest

from coopery.errors import CooperyError, MachineError, Place, Problem, RecipeError
from coopery.hooks import hookimpl
from coopery.model import Recipe
from coopery.plugins import Plugins
from coopery.recipes import Document, Facet


class Named:
    """Finds recipes of one name."""

    def __init__(self, *names: str) -> None:
        self.names = names

    @hookimpl
    def recipe_names(self) -> Iterable[str]:
        return list(self.names)


class Reads:
    """Reads every recipe as one with a task of this name."""

    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def load_recipe(self, path: Path) -> Document:
        return Document(data={"task": {self.name: {}}}, locate=lambda key: Place(key=key))


class ReadsLast(Reads):
    """As a builtin does."""

    @hookimpl(trylast=True)
    def load_recipe(self, path: Path) -> Document:
        return super().load_recipe(path)


def recipe() -> Recipe:
    return Recipe(file=Path("/r.toml"), root=Path("/"), images={}, tasks={})


def test_answers_come_sorted_by_name_whatever_the_order() -> None:
    plugins = [("b", Named("2")), ("a", Named("1")), ("c", Named("3"))]
    for order in (plugins, plugins[::-1]):
        assert Plugins(order).recipe_names() == ("1", "2", "3")


def test_any_third_party_wins_over_a_builtin() -> None:
    for builtin, third in (("a", "z"), ("z", "a")):
        plugins = Plugins([(builtin, ReadsLast("builtin")), (third, Reads("third"))])
        assert list(plugins.load_recipe(Path("x")).data["task"]) == ["third"]


def test_an_exception_names_the_plugin_and_the_way_round() -> None:
    class Raises:
        @hookimpl
        def check(self, recipe: Recipe, runtime: str) -> Iterator[Problem]:
            yield Problem(slug="x", message="x")
            raise KeyError("oops")

    with pytest.raises(MachineError) as caught:
        Plugins([("bad", Raises())]).check(recipe(), "local")
    assert "plugin 'bad' raised in check: KeyError: 'oops'" in str(caught.value)
    assert "--without bad" in str(caught.value)


def test_a_misspelled_hook_fails() -> None:
    class Misspelled:
        @hookimpl
        def recipe_nams(self) -> list[str]:
            return []

    with pytest.raises(RecipeError, match="recipe_nams"):
        Plugins([("bad", Misspelled())])


def test_a_wrapper_is_refused() -> None:
    class Wraps:
        @pluggy.HookimplMarker("coopery")(wrapper=True)
        def check(self, recipe: Recipe, runtime: str) -> Any:
            return (yield)

    with pytest.raises(RecipeError, match="it wraps the hook check"):
        Plugins([("bad", Wraps())])


def test_duplicate_names_are_refused() -> None:
    with pytest.raises(CooperyError, match="duplicate-plugin"):
        Plugins([("a", Named("1")), ("a", Named("2"))])


def test_two_plugins_cannot_claim_one_key() -> None:
    class Claims:
        @hookimpl
        def declare_facets(self) -> list[Facet]:
            return [Facet(noun="image", key="k", type=str)]

    with pytest.raises(RecipeError, match="duplicate-facet"):
        Plugins([("a", Claims()), ("b", Claims())]).declare_facets()
