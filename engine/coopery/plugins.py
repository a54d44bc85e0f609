"""Find, order and call plugins: one typed method per hook, and nobody else calls `hook.`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from coopery import discovery, hooks
from coopery.errors import CooperyError, MachineError, Problem, RecipeError, nearest
from coopery.options import CoreOptions, Settings

# The nouns only pass through here: importing them would cost each start, whatever the command.
if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from coopery.commands import Command
    from coopery.dependencies import (
        Contribution,
        DependencySet,
        ImagePlan,
        Invocation,
        Layer,
        Lock,
    )
    from coopery.findings import Finding
    from coopery.model import Image, Instance, Recipe
    from coopery.options import LockPolicy
    from coopery.recipes import Document, Facet
    from coopery.steps import Event, Execution, Made, Step, Store, Workspace


class Plugins:
    """The plugins of one program: from an explicit list, or from entry points in `discover`.

    Order is meaning: plugins are registered sorted by name, so that answers to *all* hooks come in
    an order that does not depend on the file system.
    """

    def __init__(self, plugins: Iterable[tuple[str, object]]) -> None:
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks)
        # pluggy calls what was registered last first; registering in reverse gives sorted order.
        for name, plugin in sorted(plugins, key=lambda item: item[0], reverse=True):
            if self._manager.has_plugin(name):
                raise _plugin_error("duplicate-plugin", name, "two plugins bear this name")
            try:
                self._manager.register(plugin, name=name)
                self._manager.check_pending()
                self._refuse_wrappers(name, plugin)
            except pluggy.PluginValidationError as error:
                raise _plugin_error("invalid-plugin", name, str(error)) from error
            except ValueError as error:
                raise _plugin_error("duplicate-plugin", name, str(error)) from error

    def _refuse_wrappers(self, name: str, plugin: object) -> None:
        """A wrapper would be ignored here, so it is refused (docs/decisions/0005)."""
        for caller in self._manager.get_hookcallers(plugin) or ():
            for found in caller.get_hookimpls():
                if found.plugin is plugin and (found.wrapper or found.hookwrapper):
                    message = f"it wraps the hook {caller.name}; wrappers are not called"
                    raise _plugin_error("invalid-plugin", name, message)

    @classmethod
    def discover(cls, without: Sequence[str] = ()) -> Plugins:
        """The installed plugins (entry-point group `coopery`), less those in `without`."""
        found: list[tuple[str, object]] = []
        names: dict[str, str] = {}
        for name, value in sorted(discovery.entry_points(hooks.PROJECT)):
            if names.setdefault(name, value) != value:
                message = f"{names[name]} and {value} both bear this name"
                raise _plugin_error("duplicate-plugin", name, message)
            if name in without or any(name == other for other, _ in found):
                continue
            try:
                found.append((name, discovery.load(value)))
            except Exception as error:
                message = f"it does not load: {type(error).__name__}: {error}"
                raise _plugin_error("broken-plugin", name, message) from error
        for name in without:
            if name not in names:
                message = f"--without {name}: no such plugin"
                raise RecipeError(
                    Problem(slug="unknown-plugin", message=message, hint=nearest(name, names))
                )
        return cls(found)

    @property
    def listing(self) -> tuple[tuple[str, ModuleType | object], ...]:
        """Every plugin by name, sorted."""
        pairs = self._manager.list_name_plugin()
        return tuple(sorted((name, plugin) for name, plugin in pairs if plugin is not None))

    def hooks_of(self, plugin: object) -> tuple[str, ...]:
        """The names of the hooks a plugin answers."""
        callers = self._manager.get_hookcallers(plugin) or ()
        return tuple(sorted(caller.name for caller in callers))

    def _all(
        self, hook: str, several: bool = False, answers: list[Any] | None = None, **arguments: Any
    ) -> list[Any]:
        """Every answer to an *all* hook, in plugin order; exceptions name the plugin.

        With `several`, an answer is an iterable, and is taken as a list (generators run here).
        They are gathered in `answers`, where that is given.
        """
        answers = [] if answers is None else answers
        caller = getattr(self._manager.hook, hook)
        for implementation in reversed(caller.get_hookimpls()):
            given = {name: arguments[name] for name in implementation.argnames}
            try:
                answer = implementation.function(**given)
                if several and answer is not None:
                    answer = list(answer)
            except CooperyError:
                raise
            except Exception as error:
                raise _raised(implementation.plugin_name, hook, error) from error
            if answer is not None:
                answers.append(answer)
        return answers

    def _flat(self, hook: str, **arguments: Any) -> list[Any]:
        return [item for answer in self._all(hook, several=True, **arguments) for item in answer]

    def _first(self, hook: str, **arguments: Any) -> Any:
        """The first answer that is not None; exceptions name the plugin."""
        caller = getattr(self._manager.hook, hook)
        for implementation in reversed(caller.get_hookimpls()):
            given = {name: arguments[name] for name in implementation.argnames}
            try:
                answer = implementation.function(**given)
            except CooperyError:
                raise
            except Exception as error:
                raise _raised(implementation.plugin_name, hook, error) from error
            if answer is not None:
                return answer
        return None

    def declare_options(self) -> tuple[type, ...]:
        """Every option dataclass, the engine's own first."""
        return (CoreOptions, *self._flat("declare_options"))

    def add_commands(self) -> tuple[Command, ...]:
        """Every sub-command. Raises RecipeError when two bear one name."""
        found: dict[str, Command] = {}
        for command in self._flat("add_commands"):
            if command.name in found:
                raise _plugin_error(
                    "duplicate-command", command.name, "two plugins add a command of this name"
                )
            found[command.name] = command
        return tuple(found.values())

    def declare_facets(self) -> tuple[Facet, ...]:
        """Every facet. Raises RecipeError when two plugins claim one key."""
        found: dict[tuple[str, str], Facet] = {}
        for facet in self._flat("declare_facets"):
            if found.setdefault((facet.noun, facet.key), facet) is not facet:
                raise _plugin_error(
                    "duplicate-facet", facet.key, f"two plugins declare it for {facet.noun}s"
                )
        return tuple(found.values())

    def recipe_names(self) -> tuple[str, ...]:
        """The file names under which a recipe is found."""
        return tuple(self._flat("recipe_names"))

    def load_recipe(self, path: Path) -> Document:
        """The document in a recipe file. Raises RecipeError (`unknown-recipe-kind`)."""
        document: Document | None = self._first("load_recipe", path=path)
        if document is None:
            message = f"no plugin reads {path.name}"
            hint = f"recipes are named {', '.join(self.recipe_names()) or '(no reader installed)'}"
            raise RecipeError(Problem(slug="unknown-recipe-kind", message=message, hint=hint))
        return document

    def check(self, recipe: Recipe, runtime: str) -> list[Problem]:
        """Every plugin's problems with a recipe under a runtime."""
        return self._flat("check", recipe=recipe, runtime=runtime)

    def collect_requirements(
        self, recipe: Recipe, image: Image, home: Path, before: Sequence[Contribution] = ()
    ) -> list[Contribution]:
        """What each plugin adds to an image's dependency set, after what was there `before`."""
        found = list(before)
        arguments: dict[str, Any] = {"recipe": recipe, "image": image, "home": home}
        return self._all("collect_requirements", answers=found, before=found, **arguments)

    def resolve(
        self,
        recipe: Recipe,
        sets: Sequence[DependencySet],
        policy: LockPolicy,
        home: Path,
        settings: Settings,
        tell: Callable[[str], None],
    ) -> Lock:
        """The lock. Raises RecipeError (`no-resolver`) when nothing can resolve requirements."""
        arguments = {"recipe": recipe, "sets": sets, "policy": policy, "home": home}
        lock: Lock | None = self._first("resolve", **arguments, settings=settings, tell=tell)
        if lock is None:
            raise RecipeError(
                Problem(slug="no-resolver", message="no plugin resolves the images' requirements")
            )
        return lock

    def add_layers(self, recipe: Recipe, image: Image, lock: Lock, home: Path) -> list[Layer]:
        """An image's layers, ordered by stage, then by name."""
        layers = self._flat("add_layers", recipe=recipe, image=image, lock=lock, home=home)
        return sorted(layers, key=lambda layer: (layer.stage, layer.name))

    def runtime_names(self) -> tuple[str, ...]:
        """The runtimes there are."""
        return tuple(sorted(self._flat("runtime_names")))

    def plan_image(
        self, recipe: Recipe, image: Image, layers: Sequence[Layer], runtime: str
    ) -> ImagePlan:
        """How an image becomes real. Raises RecipeError (`unknown-runtime`)."""
        plan: ImagePlan | None = self._first(
            "plan_image", recipe=recipe, image=image, layers=layers, runtime=runtime
        )
        if plan is None:
            raise unknown_runtime(runtime, self.runtime_names())
        return plan

    def plan_task(self, recipe: Recipe, instance: Instance) -> Invocation:
        """What a task instance runs. Raises RecipeError (`no-action`)."""
        invocation: Invocation | None = self._first("plan_task", recipe=recipe, instance=instance)
        if invocation is None:
            raise RecipeError(
                Problem(
                    slug="no-action",
                    message=f"task {instance.task.name!r} says neither command nor function",
                    place=recipe.locate(("task", instance.task.name)),
                )
            )
        return invocation

    def open_store(self, home: Path, settings: Settings) -> Store:
        """The store. Raises MachineError (`no-store`)."""
        store: Store | None = self._first("open_store", home=home, settings=settings)
        if store is None:
            raise MachineError(Problem(slug="no-store", message="no plugin keeps results"))
        return store

    def schedule(self, execution: Execution) -> None:
        """Drive a plan to its end. Raises MachineError (`no-scheduler`)."""
        if self._first("schedule", execution=execution) is None:
            raise MachineError(Problem(slug="no-scheduler", message="no plugin schedules steps"))

    def authorize(self, step: Step) -> list[Problem]:
        """Why a step may not run here; empty when it may."""
        return self._flat("authorize", step=step)

    def perform(self, step: Step, workspace: Workspace) -> Made:
        """Do a step's work. Raises StepError, or MachineError (`no-performer`)."""
        made: Made | None = self._first("perform", step=step, workspace=workspace)
        if made is None:
            message = f"no plugin performs {step.name} (work of kind {step.work.kind!r})"
            raise MachineError(Problem(slug="no-performer", message=message))
        return made

    def open_shell(self, step: Step, workspace: Workspace) -> int:
        """Open a shell where a step's work is done; its exit code. Raises MachineError."""
        code: int | None = self._first("open_shell", step=step, workspace=workspace)
        if code is None:
            message = f"no plugin opens a shell for {step.name} (work of kind {step.work.kind!r})"
            raise MachineError(Problem(slug="no-shell", message=message))
        return code

    def diagnose(
        self, home: Path, settings: Settings, mend: bool, quick: bool = False
    ) -> list[Finding]:
        """What every plugin finds of the machine and the home folder."""
        return self._flat("diagnose", home=home, settings=settings, mend=mend, quick=quick)

    def observe(self, events: Sequence[Event], settings: Settings) -> None:
        """Tell every plugin what happened."""
        self._all("observe", several=True, events=events, settings=settings)


def unknown_runtime(name: str, known: Sequence[str]) -> RecipeError:
    """There is no runtime of this name."""
    return RecipeError(
        Problem(
            slug="unknown-runtime",
            message=f"there is no runtime {name!r}",
            hint=nearest(name, known),
        )
    )


def _plugin_error(slug: str, name: str, message: str) -> RecipeError:
    hint = f"uninstall it, or go on without it: --without {name}"
    return RecipeError(Problem(slug=slug, message=f"plugin {name!r}: {message}", hint=hint))


def _raised(plugin: str, hook: str, error: Exception) -> MachineError:
    return MachineError(
        Problem(
            slug="plugin-raised",
            message=f"plugin {plugin!r} raised in {hook}: {type(error).__name__}: {error}",
            hint=f"a defect of the plugin; --debug shows where, --without {plugin} does without it",
        )
    )
