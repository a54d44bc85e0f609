"""The plugins of a program, found and ordered, and the one way in which they are asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from coopery import answers, discovery, hooks
from coopery.blaming import bad_answer, blame, plugin_error
from coopery.errors import CooperyError, Problem, RecipeError, nearest

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Self

SEVERAL = frozenset(
    (
        *("declare_options", "add_commands", "declare_facets", "recipe_names", "check"),
        *("declare_formats", "declare_drafts"),
        *("add_layers", "runtime_names", "authorize", "diagnose", "observe"),
        *("find_gone", "weigh", "review_step"),
    )
)
"""Hooks whose answer is an iterable."""


class Registry:
    """The plugins of one program: from an explicit list, or from entry points in `discover`.

    Order is meaning: plugins are registered sorted by name, so that answers to *all* hooks come in
    an order that does not depend on the file system.
    """

    def __init__(self, plugins: Iterable[tuple[str, object]]) -> None:
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._deaf: dict[str, CooperyError] = {}
        """The plugins that failed to observe, and how."""
        self._manager.add_hookspecs(hooks)
        self.left_out: tuple[str, ...] = ()
        """What was given with `--without`."""
        # pluggy calls what was registered last first; registering in reverse gives sorted order.
        for name, plugin in sorted(plugins, key=lambda item: item[0], reverse=True):
            if self._manager.has_plugin(name):
                raise plugin_error("duplicate-plugin", name, "two plugins bear this name")
            if isinstance(plugin, type):
                message = f"it is the class {plugin.__name__}; enter an instance, or a module"
                raise plugin_error("invalid-plugin", name, message)
            try:
                self._manager.register(plugin, name=name)
                self._manager.check_pending()
                self._refuse_wrappers(name, plugin)
            except pluggy.PluginValidationError as error:
                message = "; ".join(str(error).splitlines())
                raise plugin_error("invalid-plugin", name, message) from error
            except ValueError as error:
                raise plugin_error("duplicate-plugin", name, str(error)) from error

    def _refuse_wrappers(self, name: str, plugin: object) -> None:
        """A wrapper would be ignored here, so it is refused (docs/decisions/0005)."""
        for caller in self._manager.get_hookcallers(plugin) or ():
            for found in caller.get_hookimpls():
                if found.plugin is plugin and (found.wrapper or found.hookwrapper):
                    message = f"it wraps the hook {caller.name}; wrappers are not called"
                    raise plugin_error("invalid-plugin", name, message)

    @classmethod
    def discover(cls, without: Sequence[str] = ()) -> Self:
        """The installed plugins (entry-point group `coopery`), less those in `without`."""
        found: list[tuple[str, object]] = []
        known: dict[str, str] = {}
        entries = sorted(set(discovery.entry_points(hooks.PROJECT)))
        for name, value in entries:
            if name in without or value in without:
                continue
            if known.setdefault(name, value) != value:
                both = f"{known[name]} and {value} both bear it"
                message = f"the name of the entry point {name!r} is taken: {both}"
                raise plugin_error("duplicate-plugin", value, message, known[name])
            try:
                found.append((name, discovery.load(value)))
            except Exception as error:
                message = f"it does not load: {type(error).__name__}: {error}"
                raise plugin_error("broken-plugin", name, message) from error
            except SystemExit as error:
                message = f"it does not load: it ends the program ({error.code})"
                raise plugin_error("broken-plugin", name, message) from error
        names = [name for pair in entries for name in pair]
        for name in without:
            if name not in names:
                message = f"--without {name}: no such plugin"
                raise RecipeError(
                    Problem(slug="unknown-plugin", message=message, hint=nearest(name, names))
                )
        plugins = cls(found)
        plugins.left_out = tuple(without)
        return plugins

    @property
    def listing(self) -> tuple[tuple[str, ModuleType | object], ...]:
        """Every plugin by name, sorted."""
        pairs = self._manager.list_name_plugin()
        return tuple(sorted((name, plugin) for name, plugin in pairs if plugin is not None))

    def hooks_of(self, plugin: object) -> tuple[str, ...]:
        """The names of the hooks a plugin answers."""
        callers = self._manager.get_hookcallers(plugin) or ()
        return tuple(sorted(caller.name for caller in callers))

    def _implementations(self, hook: str) -> list[Any]:
        """Who answers a hook, in plugin order."""
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        return caller.get_hookimpls()[::-1]

    def _ask(self, implementation: Any, hook: str, arguments: dict[str, Any]) -> Any:
        """What one plugin answers; generators run here, so that their exceptions name it too."""
        name: str = implementation.plugin_name
        given = {argument: arguments[argument] for argument in implementation.argnames}
        try:
            answer = implementation.function(**given)
            if answer is None or hook not in SEVERAL:
                items = [] if answer is None else [answer]
            else:
                listed = answers.several(answer)
                if listed is None:
                    raise bad_answer(name, hook, f"expected a list, got {answers.came(answer)}")
                items = answer = listed
        except BaseException as error:
            told = blame(name, hook, error)
            if told is error:
                raise
            raise told from error
        for item in items:
            misfit = answers.misfit(hook, item)
            if misfit is not None:
                raise bad_answer(name, hook, misfit)
        return answer

    def _each(self, hook: str, **arguments: Any) -> Iterator[tuple[str, Any]]:
        """Each plugin's answer to an *all* hook that is not None, with the plugin's name."""
        for implementation in self._implementations(hook):
            answer = self._ask(implementation, hook, arguments)
            if answer is not None:
                yield implementation.plugin_name, answer

    def _items(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """Each item of each answer, with the plugin's name."""
        return [(name, item) for name, found in self._each(hook, **arguments) for item in found]

    def _flat(self, hook: str, **arguments: Any) -> list[Any]:
        return [item for _, item in self._items(hook, **arguments)]

    def _first(self, hook: str, **arguments: Any) -> tuple[str, Any]:
        """The first answer that is not None, and whose it is."""
        return next(self._each(hook, **arguments), ("", None))
