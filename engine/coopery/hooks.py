"""The verbs: every hook a plugin may answer, in the order a run calls them.

*First* hooks stop at the first answer that is not None; *all* hooks collect every answer.
Builtin answers to *first* hooks are `trylast`, so that any third party's wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from coopery.bundles import Parcel, Published
    from coopery.commands import Command
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
    from coopery.errors import Problem
    from coopery.findings import Finding
    from coopery.formats import Draft, Format
    from coopery.glimpses import Glimpse
    from coopery.images import Base, Blueprint
    from coopery.logins import RegistryLogin
    from coopery.model import Image, Instance, Recipe, Secret, Task
    from coopery.options import LockPolicy, Settings
    from coopery.recipes import Document, Facet
    from coopery.secrets import Secrets
    from coopery.steps import Event, Execution, Made, Sizing, Step, Store, Workspace

PROJECT = "coopery"
"""pluggy's project name, and the entry-point group that plugins enter through."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the answer to the hook of the same name."""


@hookspec
def declare_options() -> Sequence[type]:  # type: ignore[empty-body]
    """All: option dataclasses; see `coopery.options.option` for their fields.

    @dataclass(frozen=True)
    class Shout:
        loud: bool = option(False, help="print in capitals")

    @hookimpl
    def declare_options():
        return [Shout]
    """


@hookspec
def add_commands() -> Sequence[Command]:  # type: ignore[empty-body]
    """All: sub-commands of `coopery`.

    @hookimpl
    def add_commands():
        return [Command(name="greet", help="say hello", run=lambda c: print("hello") or 0)]
    """


@hookspec
def declare_facets() -> Sequence[Facet]:  # type: ignore[empty-body]
    """All: keys that images or tasks of a recipe may have beyond the engine's own.

    @dataclass(frozen=True)
    class Motd:
        text: Annotated[str, shorthand]

    @hookimpl
    def declare_facets():
        return [Facet(noun="image", key="motd", type=Motd)]
    """


@hookspec
def declare_formats() -> Sequence[Format]:  # type: ignore[empty-body]
    """All: kinds of documents besides recipes, for `coopery validate` and `coopery schema`.

    @hookimpl
    def declare_formats():
        def recognises(path, shown):
            return path.suffix == ".menu"

        def check(path, shown, sets, settings):
            return Checked(about=f"a menu of {len(read_menu(path))} dishes")

        return [Format(name="menu", doc="what there is", recognises=recognises, check=check)]
    """


@hookspec
def declare_drafts() -> Sequence[Draft]:  # type: ignore[empty-body]
    """All: ways to begin a document with what is there already, for `coopery init --from`.

    @hookimpl
    def declare_drafts():
        def make(source, context):
            return Drafted(file="lunch.menu", text=f"soup of {source}\\n", told=("add a dessert",))

        return [Draft(name="larder", doc="a menu of what is there", make=make)]
    """


@hookspec(firstresult=True)
def load_recipe(path: Path, sets: Sequence[str], settings: Settings) -> Document | None:
    """First: the raw contents of this recipe file, if it is of a kind this plugin reads.

    `sets` are the texts of `--set`, for a document that takes them itself.

    @hookimpl
    def load_recipe(path):
        if path.suffix == ".json":
            return Document(data=json.loads(path.read_text()), locate=nowhere)
    """


@hookspec(firstresult=True)
def fetch_recipe(
    reference: str, settings: Settings, tell: Callable[[str], None], secrets: Secrets
) -> Path | None:
    """First: the recipe file that `-f` means where no file of that name is, fetched if need be.

    Its outputs are delivered beneath the current folder. None for what is not of this plugin's
    kind. `tell` takes a line of the story.

    @hookimpl
    def fetch_recipe(reference, settings):
        if reference.startswith("shelf://"):
            return my_shelf.copy(reference, settings.home / "shelf") / "recipe.toml"
    """


@hookspec
def recipe_names() -> Sequence[str]:  # type: ignore[empty-body]
    """All: file names under which a recipe is found in a folder.

    @hookimpl
    def recipe_names():
        return ["recipe.json"]
    """


@hookspec(firstresult=True)
def provide_secret(secret: Secret, settings: Settings) -> str | None:
    """First: the value of a secret, asked at the moment of use; None for one that is not known.

    What keeps secrets but cannot be asked now raises MachineError.

    @hookimpl
    def provide_secret(secret):
        return my_vault.read(secret.name)
    """


@hookspec
def check(recipe: Recipe, runtime: str, settings: Settings) -> Iterable[Problem]:  # type: ignore[empty-body]
    """All: what is wrong with a recipe under a runtime, found before anything runs.

    @hookimpl
    def check(recipe, runtime):
        for name, image in recipe.images.items():
            if image.facet(Motd) and runtime == "local":
                yield problem("no-motd", "…", key=("image", name, "motd"))
    """


@hookspec
def collect_requirements(
    recipe: Recipe,
    image: Image,
    home: Path,
    policy: LockPolicy,
    before: Sequence[Contribution],
    settings: Settings,
    secrets: Secrets,
) -> Contribution | None:
    """All: what this image asks for of one kind: packages, projects, wheel files.

    `before` are the contributions of the plugins that were asked before this one; `policy` tells
    a run (`RENEW`), which builds what it needs, from what only locks or looks.

    @hookimpl
    def collect_requirements(recipe, image):
        place = recipe.locate(("image", image.name))
        return Contribution(requirements=(Requirement(line="rich", place=place),))
    """


@hookspec(firstresult=True)
def wants_bases(runtime: str) -> bool | None:
    """First: whether images under this runtime are made of a base image and parts upon it.

    @hookimpl
    def wants_bases(runtime):
        return True if runtime == "mine" else None
    """


@hookspec(firstresult=True)
def choose_base(
    recipe: Recipe, image: Image, settings: Settings, warn: Callable[[str], None]
) -> str | Base | None:
    """First: the reference of the base image that this image begins with.

    A Base stands for one of which all is known already, so that no engine is asked and no lock
    pins it. `warn` takes what does not stop it and should be told.

    @hookimpl
    def choose_base(recipe, image):
        if image.facet(Motd):
            return "debian:12-slim"
    """


@hookspec(firstresult=True)
def inspect_base(
    recipe: Recipe,
    reference: str,
    runtime: str,
    settings: Settings,
    tell: Callable[[str], None],
    secrets: Secrets,
    renew: bool,
) -> Base | None:
    """First: what a base image is, as the engine of this runtime has or gets it.

    Asked when the lock does not hold it yet; and, to `renew` it, when it may have changed since
    the engine got it. Raises BaseError when it cannot be had, MachineError where there is no
    engine.

    @hookimpl
    def inspect_base(reference, runtime):
        if runtime == "mine":
            return Base(reference=reference, id=my_engine.id(reference), platform="linux/amd64")
    """


@hookspec(firstresult=True)
def look_into_image(
    reference: str,
    paths: Sequence[str],
    settings: Settings,
    tell: Callable[[str], None],
    secrets: Secrets,
    login: RegistryLogin | None,
) -> Glimpse | None:
    """First: what an image is and holds, which is never started for that.

    `paths` are absolute ones of files in it that are wanted, if they are there; with none, no
    contents are read. None where this plugin has no such image, which `tell` may say. The engine
    of the runtime `docker` is asked before all that is `trylast`, such as its registry. `login`
    says who one is there; without it, what Docker's configuration says holds.

    @hookimpl(tryfirst=True)
    def look_into_image(reference, paths):
        if reference.startswith("shelf://"):
            root = my_shelf.unpacked(reference)
            there = [path for path in paths if (root / path[1:]).is_file()]
            files = {path: (root / path[1:]).read_bytes() for path in there}
            return Glimpse(id=my_shelf.digest(reference), source="shelf", files=files)
    """


@hookspec(firstresult=True)
def resolve(
    recipe: Recipe,
    sets: Sequence[DependencySet],
    policy: LockPolicy,
    home: Path,
    settings: Settings,
    tell: Callable[[str], None],
    inspect: Callable[[str], Base],
    secrets: Secrets,
) -> Lock | None:
    """First: pins for all these dependency sets, through the recipe's lock file.

    `tell` takes a line of the story, for what takes long. `inspect` finds what a set's `base` is,
    where the lock file does not say.

    @hookimpl
    def resolve(recipe, sets, policy, home, settings):
        return Lock(pins={s.image: () for s in sets})
    """


@hookspec
def add_layers(  # type: ignore[empty-body]
    recipe: Recipe, image: Image, lock: Lock, home: Path
) -> Iterable[Layer]:
    """All: what goes into this image, each with the stage it belongs to.

    @hookimpl
    def add_layers(recipe, image, lock):
        if motd := image.facet(Motd):
            yield Layer(name="motd", stage=Stage.SETTINGS, env={"MOTD": motd.text})
    """


@hookspec(firstresult=True)
def render_image(
    recipe: Recipe,
    image: Image,
    layers: Sequence[Layer],
    base: Base,
    home: Path,
    settings: Settings,
) -> Blueprint | None:
    """First: an image as a base and parts: the instructions of its Dockerfile, and its context.

    @hookimpl
    def render_image(recipe, image, layers, base):
        said = Instruction(keyword="ENV", arguments="MOTD=hello")
        part = Part(name="settings", instructions=(said,))
        return Blueprint(image=image.name, base=base, parts=(part,))
    """


@hookspec(firstresult=True)
def plan_image(
    recipe: Recipe,
    image: Image,
    layers: Sequence[Layer],
    runtime: str,
    render: Callable[[], Blueprint],
) -> ImagePlan | None:
    """First: how this image becomes real under the chosen runtime.

    `render` answers with what `render_image` makes of it, for runtimes that want bases.

    @hookimpl
    def plan_image(recipe, image, layers, runtime):
        if runtime == "bare":
            return ImagePlan(steps=(), need=None)
    """


@hookspec
def runtime_names() -> Sequence[str]:  # type: ignore[empty-body]
    """All: the names of the runtimes this plugin brings.

    @hookimpl
    def runtime_names():
        return ["bare"]
    """


@hookspec(firstresult=True)
def freeze_task(recipe: Recipe, task: Task) -> Frozen | None:
    """First: what a task runs, said without the project that the recipe is of, for a bundle.

    @hookimpl
    def freeze_task(recipe, task):
        if say := task.facet(Say):
            return Frozen(keys={"say": say.text})
    """


@hookspec(firstresult=True)
def plan_task(
    recipe: Recipe,
    instance: Instance,
    lock: Lock,
    settings: Settings,
    look: Callable[[str, Sequence[str]], Glimpse],
) -> Invocation | None:
    """First: what this task instance runs.

    The `lock` says what the image of the task begins with, under a runtime whose images do; with
    `look` an image can be looked into, by its reference and the paths of files in it. Raises
    RecipeError with all that does not fit.

    @hookimpl
    def plan_task(recipe, instance):
        if say := instance.task.facet(Say):
            return Invocation(command=("echo", say.text), shown=f"say {say.text}")
    """


@hookspec(firstresult=True)
def size_step(
    step: Step, inputs: Mapping[str, Sequence[tuple[str, Path]]], outputs: Mapping[str, Path]
) -> Sizing | None:
    """First: what this step takes, by the data that it reads; asked of those that are `by_data`.

    `inputs` are the channels' files and folders by name: each with its path within the channel,
    which is empty for what the channel is as a whole. `outputs` are those that are written where
    they stay, and may hold something already.

    @hookimpl
    def size_step(step, inputs):
        size = sum(path.stat().st_size for parts in inputs.values() for _, path in parts)
        return Sizing(work=step.work, resources={**step.resources, "memory": 2.0 * size})
    """


@hookspec
def review_step(step: Step, facts: Mapping[str, Any], settings: Settings) -> Iterable[str]:  # type: ignore[empty-body]
    """All: what a person should be told of how a step that is `by_data` went, by its facts.

    Asked when it has succeeded or failed. What begins with `warning: ` is told as one.

    @hookimpl
    def review_step(step, facts):
        if (peak := facts.get("peak_memory") or 0) > step.resources["memory"]:
            yield f"it took {peak} bytes, more than was kept free for it"
    """


@hookspec(firstresult=True)
def open_store(home: Path, settings: Settings) -> Store | None:
    """First: the memory and the objects in this home folder.

    @hookimpl
    def open_store(home, settings):
        return MyStore(home)
    """


@hookspec(firstresult=True)
def schedule(execution: Execution) -> bool | None:
    """First: drive the plan to its end, starting each step once its needs have succeeded.

    @hookimpl
    def schedule(execution):
        skipped = set()
        for name in execution.needs:
            if name in skipped or execution.stopping or execution.decide([name])[name]:
                continue
            turn = Turn.AGAIN
            while turn is Turn.AGAIN and not execution.stopping:
                if time.monotonic() >= execution.due(name) and execution.reserve(name):
                    turn = execution.perform(name)
                else:
                    time.sleep(0.1)
            if turn is Turn.FAILED:
                skipped.update(execution.give_up(name))
        return True
    """


@hookspec
def authorize(step: Step) -> Iterable[Problem]:  # type: ignore[empty-body]
    """All: reasons why this step may not run here; asked just before it is performed.

    @hookimpl
    def authorize(step):
        if step.subject == "forbidden":
            yield problem("not-allowed", f"{step.name} may not run here")
    """


@hookspec(firstresult=True)
def perform(step: Step, workspace: Workspace) -> Made | None:
    """First: do this step's work in the workspace; raise StepError when it fails.

    @hookimpl
    def perform(step, workspace):
        if isinstance(step.work, Greeting):
            (workspace.folder / "out").write_text(step.work.text)
            return Made(outputs={"out": workspace.folder / "out"})
    """


@hookspec
def find_gone(made: Sequence[tuple[Step, Path]]) -> Iterable[str]:  # type: ignore[empty-body]
    """All: the steps whose results lie outside the home folder, and are not there any more.

    Each of the steps comes with the folder in which it left a note of its result. Asked in a run
    before a step that needs one is performed, and when a run is foretold, once for all of them;
    what is gone is made again. Where that cannot be told, raise MachineError: what is unknown is
    not there, and is not missing.

    @hookimpl
    def find_gone(made):
        for step, folder in made:
            if isinstance(step.work, Greeting):
                if not Path((folder / "where").read_text()).exists():
                    yield step.name
    """


@hookspec
def weigh(home: Path, places: Mapping[str, Path]) -> Iterable[Holding]:  # type: ignore[empty-body]
    """All: what is kept outside the home folder of what was made for it, and its sizes.

    `places` are the folders of all results in place, by key: where a step left its note, its
    result is known. What nobody has a note of is told of too: it is of no use any more. Asked
    when the store looks whether its budgets are kept; say nothing where nothing was ever kept.

    @hookimpl
    def weigh(home, places):
        notes = {key: folder / "where" for key, folder in places.items()}
        paths = {key: Path(note.read_text()) for key, note in notes.items() if note.exists()}
        found = [
            Kept(key=key, name=str(path), size=path.stat().st_size)
            for key, path in paths.items() if path.exists()
        ]
        yield Holding(kind="greetings", kept=tuple(found))
    """


@hookspec(firstresult=True)
def let_go(home: Path, kind: str, kept: Kept) -> bool | None:
    """First: remove what `weigh` told of; False if it is in use and stays.

    The store asks this only of what no living process uses, as far as it knows, and holds off
    all who would make it anew. What is gone already is removed. Raise MachineError when that
    cannot be done now.

    @hookimpl
    def let_go(home, kind, kept):
        if kind == "greetings":
            Path(kept.name).unlink(missing_ok=True)
            return True
    """


@hookspec(firstresult=True)
def open_shell(step: Step, workspace: Workspace) -> int | None:
    """First: an interactive shell in which this step's work could be done by hand.

    It sees what the step would: its inputs, variables, working folder and programs. The answer is
    the shell's exit code; what it made is not looked at.

    @hookimpl
    def open_shell(step, workspace):
        if isinstance(step.work, Greeting):
            return subprocess.run(["sh", "-i"], cwd=workspace.folder).returncode
    """


@hookspec(firstresult=True)
def push_image(
    recipe: Recipe,
    step: Step,
    folder: Path,
    reference: str,
    tell: Callable[[str], None],
    secrets: Secrets,
) -> str | None:
    """First: send an image to a registry under a reference; its manifest's digest there.

    `step` made it, and left its note in `folder`. Raises MachineError.

    @hookimpl
    def push_image(step, folder, reference):
        if isinstance(step.work, MyImage):
            return my_engine.push((folder / "id").read_text(), reference)
    """


@hookspec(firstresult=True)
def publish(
    parcel: Parcel, settings: Settings, tell: Callable[[str], None], secrets: Secrets
) -> Sequence[Published] | None:
    """First: take images and a bundle of tasks to where `parcel.target` says (`--to`).

    @hookimpl
    def publish(parcel):
        if parcel.target.startswith("shelf://"):
            folder = Path(parcel.target.removeprefix("shelf://"))
            bundle = parcel.bundle({})
            for blob in (*bundle.blobs, bundle.manifest):
                shutil.copyfileobj(blob.open(), (folder / blob.digest).open("wb"))
            return [Published(kind="bundle", reference=bundle.manifest.digest)]
    """


@hookspec
def diagnose(  # type: ignore[empty-body]
    home: Path, settings: Settings, mend: bool, quick: bool
) -> Iterable[Finding]:
    """All: what is well or wrong with the machine and the home folder; with `mend`, mended.

    Asked by `doctor`. Before the first step of each run, and of `cache gc`, it is asked too, with
    `mend` and `quick`: then only what dead runs left behind is of interest. Nothing that a living
    process uses may be mended.

    @hookimpl
    def diagnose(home, settings, mend, quick):
        if not quick and not shutil.which("git"):
            yield Finding(subject="git", state="warning", text="git is missing", hint="install it")
    """


@hookspec
def observe(events: Sequence[Event], settings: Settings) -> None:
    """All: events of a run, in order and in batches; changes nothing.

    @hookimpl
    def observe(events, settings):
        for event in events:
            print(event.kind, event.step)
    """
