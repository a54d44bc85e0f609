"""The facade of all plugins: one typed method for each hook, and nobody else asks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from coopery import answers
from coopery.blaming import bad_answer, blame, plugin_error
from coopery.errors import CooperyError, MachineError, Problem, RecipeError, nearest
from coopery.options import CoreOptions, Settings
from coopery.registry import Registry

# The nouns only pass through here: importing them would cost each start, whatever the command.
if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from coopery.bundles import Parcel, Published
    from coopery.commands import Command, Context
    from coopery.dependencies import (
        Contribution,
        DependencySet,
        Frozen,
        ImagePlan,
        Invocation,
        Layer,
        Lock,
    )
    from coopery.elsewhere import Holding, Kept
    from coopery.findings import Finding
    from coopery.formats import Draft, Format
    from coopery.glimpses import Glimpse
    from coopery.images import Base, Blueprint
    from coopery.logins import RegistryLogin
    from coopery.model import Image, Instance, Recipe, Secret, Task
    from coopery.options import LockPolicy
    from coopery.recipes import Document, Facet
    from coopery.secrets import Secrets
    from coopery.steps import Event, Execution, Made, Sizing, Step, Store, Workspace


A = TypeVar("A")
R = TypeVar("R")


class Plugins(Registry):
    """The plugins of one program, with one method for each hook: the only way to ask them."""

    def declare_options(self) -> tuple[type, ...]:
        """Every option dataclass, the engine's own first.

        Raises RecipeError (`duplicate-option`) when two have a flag, and so a variable, in common.
        """
        from dataclasses import fields

        owners: dict[str, str] = {}
        for name, kind in [("", CoreOptions), *self._items("declare_options")]:
            for item in fields(kind):
                flags = [f"--{item.name.replace('_', '-')}", item.metadata["short"]]
                for flag in filter(None, flags):
                    if flag in owners:
                        whose = f"plugin {owners[flag]!r}" if owners[flag] else "coopery itself"
                        message = f"its option {flag} is one of {whose} already"
                        raise plugin_error("duplicate-option", name, message, *_some(owners[flag]))
                    owners[flag] = name
        return (CoreOptions, *self._flat("declare_options"))

    def add_commands(self) -> tuple[Command, ...]:
        """Every sub-command. Raises RecipeError when two bear one name."""
        found: dict[str, tuple[str, Command]] = {}
        for name, command in self._items("add_commands"):
            other, _ = found.setdefault(command.name, (name, command))
            if found[command.name][1] is not command:
                message = f"its command {command.name!r} is one of plugin {other!r} already"
                raise plugin_error("duplicate-command", name, message, other)
        return tuple(self._answerable(name, command) for name, command in found.values())

    def _answerable(self, name: str, command: Command) -> Command:
        """The command, with errors of its functions that name its plugin."""
        from dataclasses import replace

        def configure(parser: argparse.ArgumentParser) -> None:
            _within(name, f"configure of its command {command.name}", command.configure, parser)

        def run(context: Context) -> int:
            told = f"its command {command.name}"
            try:
                code = _within(name, told, command.run, context)
                if type(code) is not int:
                    misfit = f"expected an exit code, got {answers.came(code)}"
                    raise bad_answer(name, told, misfit)
            finally:
                lost = self._tell_deaf()
            return code or lost

        return replace(command, run=run, configure=configure)

    def _tell_deaf(self) -> int:
        """Tell, once, which plugins failed to observe; returns the exit code that comes to."""
        import sys

        deaf, self._deaf = self._deaf, {}
        for error in deaf.values():
            for problem in error.problems:
                print(f"error: {problem}", file=sys.stderr)
        return max((error.exit_code for error in deaf.values()), default=0)

    def declare_facets(self) -> tuple[Facet, ...]:
        """Every facet. Raises RecipeError when two plugins claim one key."""
        found: dict[tuple[str, str], tuple[str, Facet]] = {}
        for name, facet in self._items("declare_facets"):
            other, first = found.setdefault((facet.noun, facet.key), (name, facet))
            if first is not facet:
                message = f"its key {facet.key!r} of {facet.noun}s is one of plugin {other!r} too"
                raise plugin_error("duplicate-facet", name, message, other)
        return tuple(facet for _, facet in found.values())

    def declare_formats(self) -> dict[str, Format]:
        """Every kind of document, by name. Raises RecipeError when two plugins claim one name."""
        return self._by_name("declare_formats", "kind of document")

    def declare_drafts(self) -> dict[str, Draft]:
        """Every way to begin a document, by name. Raises RecipeError when two claim one name."""
        return self._by_name("declare_drafts", "kind of draft")

    def _by_name(self, hook: str, noun: str) -> dict[str, Any]:
        found: dict[str, tuple[str, Any]] = {}
        for name, made in self._items(hook):
            other, first = found.setdefault(made.name, (name, made))
            if first is not made:
                message = f"its {noun} {made.name!r} is one of plugin {other!r} too"
                raise plugin_error("duplicate-format", name, message, other)
        return {key: made for key, (_, made) in found.items()}

    def recipe_names(self) -> tuple[str, ...]:
        """The file names under which a recipe is found."""
        return tuple(dict.fromkeys(self._flat("recipe_names")))

    def fetch_recipe(
        self, reference: str, settings: Settings, tell: Callable[[str], None], secrets: Secrets
    ) -> Path | None:
        """The recipe file that `-f` means where there is no such file; None if nobody knows it."""
        arguments: dict[str, Any] = {"reference": reference, "settings": settings}
        found: Path | None = self._first("fetch_recipe", **arguments, tell=tell, secrets=secrets)[1]
        return found

    def load_recipe(
        self, path: Path, sets: Sequence[str] = (), settings: Settings | None = None
    ) -> Document:
        """The document in a recipe file. Raises RecipeError (`unknown-recipe-kind`)."""
        arguments = {"path": path, "sets": sets, "settings": settings or Settings({})}
        document: Document | None = self._first("load_recipe", **arguments)[1]
        if document is None:
            message = f"no plugin reads {path.name}"
            hint = f"recipes are named {', '.join(self.recipe_names()) or '(no reader installed)'}"
            raise RecipeError(Problem(slug="unknown-recipe-kind", message=message, hint=hint))
        return document

    def provide_secret(self, secret: Secret, settings: Settings) -> str:
        """A secret's value. Raises MachineError (`secret-missing`, `bad-secret`)."""
        return self._provided(secret, settings)[1]

    def source_of_secret(self, secret: Secret, settings: Settings) -> str:
        """The name of the plugin that has a secret. Raises as `provide_secret`."""
        return self._provided(secret, settings)[0]

    def _provided(self, secret: Secret, settings: Settings) -> tuple[str, str]:
        from coopery import masking
        from coopery.secrets import SHORTEST, too_short

        found = self._first("provide_secret", secret=secret, settings=settings)
        name: str = found[0]
        value: str | None = found[1]
        if value == "":
            message = f"the secret {secret.name} is empty, as the plugin {name!r} has it"
            raise MachineError(Problem(slug="bad-secret", message=message))
        if value is None:
            message = f"there is no secret {secret.name}"
            hint = (
                f"export {secret.name}=…, or keep it in a file or the keyring: "
                "docs/how-to/keep-secrets.md"
            )
            raise MachineError(Problem(slug="secret-missing", message=message, hint=hint))
        if len(value) < SHORTEST:
            raise too_short(secret)
        masking.keep_out(value)
        return name, value

    def secrets(self, settings: Settings, confided: Mapping[str, str] | None = None) -> Secrets:
        """A reader of secrets, for one import or one run; some are `confided` already, by name."""
        from coopery.secrets import Secrets

        def provide(secret: Secret) -> str:
            if confided and secret.name in confided:
                return confided[secret.name]
            return self.provide_secret(secret, settings)

        return Secrets(provide)

    def check(
        self, recipe: Recipe, runtime: str, settings: Settings | None = None
    ) -> list[Problem]:
        """Every plugin's problems with a recipe under a runtime."""
        settings = settings or Settings({})
        return self._flat("check", recipe=recipe, runtime=runtime, settings=settings)

    def collect_requirements(
        self,
        recipe: Recipe,
        image: Image,
        home: Path,
        policy: LockPolicy,
        before: Sequence[Contribution] = (),
        settings: Settings | None = None,
        secrets: Secrets | None = None,
    ) -> list[Contribution]:
        """What each plugin adds to an image's dependency set, after what was there `before`."""
        found = list(before)
        arguments: dict[str, Any] = {"recipe": recipe, "image": image, "home": home}
        settings = settings or Settings({})
        arguments |= {"policy": policy, "settings": settings}
        arguments["secrets"] = secrets or self.secrets(settings)
        for _, contribution in self._each("collect_requirements", before=found, **arguments):
            found.append(contribution)  # seen by those who are asked after it
        return found

    def wants_bases(self, runtime: str) -> bool:
        """Whether images under a runtime are made of a base image and parts upon it."""
        return bool(self._first("wants_bases", runtime=runtime)[1])

    def choose_base(
        self,
        recipe: Recipe,
        image: Image,
        settings: Settings,
        warn: Callable[[str], None] = lambda text: None,
    ) -> str | Base:
        """The base image's reference, or all of it. Raises RecipeError (`no-base`)."""
        arguments = {"recipe": recipe, "image": image, "settings": settings, "warn": warn}
        reference: str | Base | None = self._first("choose_base", **arguments)[1]
        if reference is None:
            message = f"no plugin says what the image {image.name!r} begins with"
            place = recipe.locate(("image", image.name))
            raise RecipeError(
                Problem(slug="no-base", message=message, place=place, hint=_missing("images"))
            )
        return reference

    def inspect_base(
        self,
        recipe: Recipe,
        reference: str,
        runtime: str,
        settings: Settings,
        tell: Callable[[str], None],
        secrets: Secrets,
        *,
        renew: bool = False,
    ) -> Base:
        """What a base image is. Raises MachineError (`no-engine`, and when it cannot be had)."""
        arguments: dict[str, Any] = {"recipe": recipe, "reference": reference, "runtime": runtime}
        arguments |= {"settings": settings, "tell": tell, "secrets": secrets, "renew": renew}
        base: Base | None = self._first("inspect_base", **arguments)[1]
        if base is None:
            message = f"no plugin finds base images for the runtime {runtime!r}"
            raise MachineError(
                Problem(slug="no-engine", message=message, hint="choose another with -r")
            )
        return base

    def look_into_image(
        self,
        reference: str,
        paths: Sequence[str],
        settings: Settings,
        tell: Callable[[str], None],
        secrets: Secrets,
        login: RegistryLogin | None = None,
    ) -> Glimpse:
        """What an image is and holds, seen without starting it. Raises MachineError
        (`image-not-found`, `image-damaged`, `image-file-size`, `registry-…`, `engine-…`).
        """
        from coopery.glimpses import check_paths, not_found

        check_paths(tuple(paths))
        arguments: dict[str, Any] = {"reference": reference, "paths": tuple(paths), "login": login}
        arguments |= {"settings": settings, "tell": tell, "secrets": secrets}
        glimpse: Glimpse | None = self._first("look_into_image", **arguments)[1]
        if glimpse is None:
            raise not_found(reference, "no container engine has it, and no plugin knows a registry")
        return glimpse

    def resolve(
        self,
        recipe: Recipe,
        sets: Sequence[DependencySet],
        policy: LockPolicy,
        home: Path,
        settings: Settings,
        tell: Callable[[str], None],
        inspect: Callable[[str], Base],
        secrets: Secrets,
    ) -> Lock:
        """The lock. Raises RecipeError (`no-resolver`) when nothing can resolve requirements."""
        arguments = {"recipe": recipe, "sets": sets, "policy": policy, "home": home}
        arguments |= {"settings": settings, "tell": tell, "inspect": inspect}
        arguments["secrets"] = secrets
        lock: Lock | None = self._first("resolve", **arguments)[1]
        if lock is None:
            raise RecipeError(
                Problem(
                    slug="no-resolver",
                    message="no plugin resolves the images' requirements",
                    hint=_missing("lock"),
                )
            )
        return lock

    def add_layers(self, recipe: Recipe, image: Image, lock: Lock, home: Path) -> list[Layer]:
        """An image's layers, ordered by stage, then by name."""
        layers = self._flat("add_layers", recipe=recipe, image=image, lock=lock, home=home)
        return sorted(layers, key=lambda layer: (layer.stage, layer.name))

    def runtime_names(self) -> tuple[str, ...]:
        """The runtimes there are. Raises RecipeError when two plugins bring one of a name."""
        found: dict[str, str] = {}
        for name, runtime in self._items("runtime_names"):
            other = found.setdefault(runtime, name)
            if other != name:
                message = f"its runtime {runtime!r} is one of plugin {other!r} too"
                raise plugin_error("duplicate-runtime", name, message, other)
        return tuple(sorted(found))

    def render_image(
        self,
        recipe: Recipe,
        image: Image,
        layers: Sequence[Layer],
        base: Base,
        home: Path,
        settings: Settings,
    ) -> Blueprint:
        """An image as a base and parts. Raises RecipeError (`no-blueprint`)."""
        arguments: dict[str, Any] = {"recipe": recipe, "image": image, "layers": layers}
        blueprint: Blueprint | None = self._first(
            "render_image", **arguments, base=base, home=home, settings=settings
        )[1]
        if blueprint is None:
            message = f"no plugin makes a Dockerfile for the image {image.name!r}"
            place = recipe.locate(("image", image.name))
            raise RecipeError(
                Problem(slug="no-blueprint", message=message, place=place, hint=_missing("images"))
            )
        return blueprint

    def plan_image(
        self,
        recipe: Recipe,
        image: Image,
        layers: Sequence[Layer],
        runtime: str,
        render: Callable[[], Blueprint],
    ) -> ImagePlan:
        """How an image becomes real. Raises RecipeError (`unknown-runtime`)."""
        arguments: dict[str, Any] = {"recipe": recipe, "image": image, "layers": layers}
        plan: ImagePlan | None = self._first(
            "plan_image", **arguments, runtime=runtime, render=render
        )[1]
        if plan is None:
            raise unknown_runtime(runtime, self.runtime_names())
        return plan

    def freeze_task(self, recipe: Recipe, task: Task) -> Frozen:
        """What a task runs, said without its project. Raises RecipeError (`not-publishable`)."""
        found: Frozen | None = self._first("freeze_task", recipe=recipe, task=task)[1]
        if found is None:
            message = f"no plugin says what the task {task.name!r} runs without its project"
            place = recipe.locate(("task", task.name))
            hint = "make it a task of a `command` or a `function`"
            raise RecipeError(
                Problem(slug="not-publishable", message=message, place=place, hint=hint)
            )
        return found

    def plan_task(
        self,
        recipe: Recipe,
        instance: Instance,
        lock: Lock | None = None,
        settings: Settings | None = None,
        look: Callable[[str, Sequence[str]], Glimpse] | None = None,
    ) -> Invocation:
        """What a task instance runs. Raises RecipeError (`no-action`)."""
        from coopery.dependencies import Lock as NoLock

        arguments: dict[str, Any] = {"recipe": recipe, "instance": instance, "look": look}
        arguments |= {"lock": lock or NoLock(), "settings": settings or Settings({})}
        _, answer = self._first("plan_task", **arguments)
        invocation: Invocation | None = answer
        if invocation is None:
            raise RecipeError(
                Problem(
                    slug="no-action",
                    message=f"task {instance.task.name!r} says neither command nor function",
                    place=recipe.locate(("task", instance.task.name)),
                    hint="say what it runs: command = … or function = …",
                )
            )
        return invocation

    def size_step(
        self,
        step: Step,
        inputs: Mapping[str, Sequence[tuple[str, Path]]],
        outputs: Mapping[str, Path],
    ) -> Sizing | None:
        """What a step takes by the data that it reads; None where no plugin says so."""
        arguments: dict[str, Any] = {"step": step, "inputs": inputs, "outputs": outputs}
        found: Sizing | None = self._first("size_step", **arguments)[1]
        return found

    def review_step(self, step: Step, facts: Mapping[str, Any], settings: Settings) -> list[str]:
        """What should be told of how a step went."""
        return self._flat("review_step", step=step, facts=facts, settings=settings)

    def open_store(self, home: Path, settings: Settings) -> Store:
        """The store. Raises MachineError (`no-store`)."""
        store: Store | None = self._first("open_store", home=home, settings=settings)[1]
        if store is None:
            raise MachineError(
                Problem(slug="no-store", message="no plugin keeps results", hint=_missing("store"))
            )
        return store

    def schedule(self, execution: Execution) -> None:
        """Drive a plan to its end. Raises MachineError (`no-scheduler`, `bad-schedule`)."""
        from coopery.guarding import Guard

        for implementation in self._implementations("schedule"):
            guard = Guard(execution, implementation.plugin_name)
            try:
                answer = self._ask(implementation, "schedule", {"execution": guard})
            except BaseException as error:
                guard.end(error)
                raise
            if answer is None and not guard.begun:
                continue
            guard.end()
            return
        raise MachineError(
            Problem(
                slug="no-scheduler", message="no plugin schedules steps", hint=_missing("scheduler")
            )
        )

    def authorize(self, step: Step) -> list[Problem]:
        """Why a step may not run here; empty when it may."""
        return self._flat("authorize", step=step)

    def perform(self, step: Step, workspace: Workspace) -> Made:
        """Do a step's work. Raises StepError, or MachineError (`no-performer`, `bad-answer`)."""
        name, answer = self._first("perform", step=step, workspace=workspace)
        made: Made | None = answer
        if made is None:
            message = f"no plugin performs {step.name} (work of kind {step.work.kind!r})"
            raise MachineError(Problem(slug="no-performer", message=message))
        misfit = answers.made_misfit(made, step, workspace)
        if misfit is not None:
            raise bad_answer(name, "perform", f"for {step.name}, {misfit}")
        return made

    def find_gone(self, made: Sequence[tuple[Step, Path]]) -> frozenset[str]:
        """Of steps and the folders of what they made in place, those whose results are gone from
        where they lie outside of these folders. Raises MachineError where that cannot be told.
        """
        return frozenset(self._flat("find_gone", made=made))

    def weigh(self, home: Path, places: Mapping[str, Path]) -> list[Holding]:
        """What every plugin keeps outside the home folder."""
        return self._flat("weigh", home=home, places=places)

    def let_go(self, home: Path, kind: str, kept: Kept) -> bool:
        """Have what is kept outside the home folder removed; False if it stays."""
        return self._first("let_go", home=home, kind=kind, kept=kept)[1] is True

    def open_shell(self, step: Step, workspace: Workspace) -> int:
        """Open a shell where a step's work is done; its exit code.

        Raises MachineError (`no-shell`, `bad-answer`).
        """
        name, answer = self._first("open_shell", step=step, workspace=workspace)
        if answer is None:
            message = f"no plugin opens a shell for {step.name} (work of kind {step.work.kind!r})"
            raise MachineError(Problem(slug="no-shell", message=message))
        if not isinstance(answer, int):
            told = f"for {step.name}, an exit code was expected, not {answer!r}"
            raise bad_answer(name, "open_shell", told)
        return answer

    def push_image(
        self,
        recipe: Recipe,
        step: Step,
        folder: Path,
        reference: str,
        tell: Callable[[str], None],
        secrets: Secrets,
    ) -> str:
        """Send an image to a registry; its digest there. Raises MachineError (`no-publisher`)."""
        arguments: dict[str, Any] = {"recipe": recipe, "step": step, "folder": folder}
        arguments |= {"reference": reference, "tell": tell, "secrets": secrets}
        digest: str | None = self._first("push_image", **arguments)[1]
        if digest is None:
            message = f"no plugin sends {step.name} to a registry"
            hint = _missing("docker")
            raise MachineError(Problem(slug="no-publisher", message=message, hint=hint))
        return digest

    def publish(
        self, parcel: Parcel, settings: Settings, tell: Callable[[str], None], secrets: Secrets
    ) -> tuple[Published, ...]:
        """What was published. Raises RecipeError (`no-publisher`) where nobody goes there."""
        arguments: dict[str, Any] = {"parcel": parcel, "settings": settings, "tell": tell}
        found: Sequence[Published] | None = self._first("publish", **arguments, secrets=secrets)[1]
        if found is None:
            message = f"--to {parcel.target}: no plugin publishes there"
            hint = "name a registry and a repository: --to registry.example/team/name"
            raise RecipeError(Problem(slug="no-publisher", message=message, hint=hint))
        return tuple(found)

    def diagnose(
        self, home: Path, settings: Settings, mend: bool, quick: bool = False
    ) -> list[Finding]:
        """What every plugin finds of the machine and the home folder."""
        return self._flat("diagnose", home=home, settings=settings, mend=mend, quick=quick)

    def observe(self, events: Sequence[Event], settings: Settings) -> None:
        """Tell every plugin what happened.

        One that fails must not break what it observes: it hears no more, and the error is told
        when the command has ended (its `exit_code` then is the error's, unless it is worse).
        """
        from coopery.telling import told

        arguments = {"events": told(events), "settings": settings}
        for implementation in self._implementations("observe"):
            if implementation.plugin_name in self._deaf:
                continue
            try:
                self._ask(implementation, "observe", arguments)
            except CooperyError as error:
                if isinstance(error, RecipeError) and {e.kind for e in events} <= _BEFORE:
                    raise  # nothing runs yet, and what was asked of it cannot be done
                self._deaf.setdefault(implementation.plugin_name, error)


_BEFORE = frozenset({"message", "preview"})
"""Kinds of events that come before anything runs."""


def _within(name: str, told: str, function: Callable[[A], R], argument: A) -> R:
    """Call a plugin's function that it has answered a hook with."""
    try:
        return function(argument)
    except BrokenPipeError:
        raise  # the reader of stdout went away, which is nobody's defect
    except BaseException as error:
        known = blame(name, told, error)
        if known is error:
            raise
        raise known from error


def _missing(name: str) -> str:
    return f"the plugin {name!r} does: drop `--without {name}`, or install coopery anew"


def _some(name: str) -> tuple[str, ...]:
    return (name,) if name else ()


def unknown_runtime(name: str, known: Sequence[str]) -> RecipeError:
    """There is no runtime of this name."""
    return RecipeError(
        Problem(
            slug="unknown-runtime",
            message=f"there is no runtime {name!r}",
            hint=nearest(name, known),
        )
    )
