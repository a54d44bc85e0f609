"""With a real engine and a real registry: published here, run elsewhere; images as they are."""

from __future__ import annotations

import json
import shutil
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import registries
from docker.errors import APIError

from coopery.testing import Project, performed

Env = dict[str, str]
RECIPE = """
from pathlib import Path
from coopery import Image, command, task

science = Image(python="3.11", sources=["lib"], env={"KIND": "cask"})
FACTOR = 3


def doubled(number: int) -> int:
    return 2 * number


@task(image=science, inputs={"raw": "data/raw.txt"}, outputs={"table": "out/table.txt"})
def prepare(raw: Path, table: Path, seed: int = 1) -> None:
    table.write_text(f"{doubled(int(raw.read_text())) * FACTOR} {seed}\\n")


command(
    "fit",
    ["sh", "-c", "(cat {inputs.table} lib/add.txt; echo {matrix.fold} $KIND) > {outputs.m}"],
    image=science,
    matrix={"fold": [0, 1]},
    inputs={"table": "out/table.txt"},
    outputs={"m": "out/m{matrix.fold}.txt"},
)
"""


def outputs(root: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted((root / "out").iterdir())}


def forget(engine: Any, repository: str) -> None:
    """Remove from the engine all that it knows as this repository's."""
    for image in engine.images(repository):
        for name in (*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())):
            if name.startswith(repository):
                with suppress(APIError):
                    engine.remove_image(name, force=True)


def images_of(engine: Any, home: Path) -> list[str]:
    from coopery_docker.notes import HOME, home_id

    found = engine.images(filters={"label": [f"{HOME}={home_id(home)}"]})
    return [str(image["Id"]) for image in found]


def remove_images_of(engine: Any, home: Path) -> None:
    for ident in images_of(engine, home):
        with suppress(APIError):
            engine.remove_image(ident, force=True)


def test_published_here_and_run_elsewhere(
    project: Project,
    elsewhere: Project,
    registry: registries.Registry,
    logged_in: Env,
    logged_out: Env,
    engine: Any,
    sweep: Callable[[Path], None],
) -> None:
    """Issue's fifth acceptance: publish, delete the home and the images, run in another home."""
    sweep(project.home)
    sweep(elsewhere.home)
    project.write("recipe.py", RECIPE)
    project.write("data/raw.txt", "7\n")
    project.write("lib/add.txt", "from the image\n")
    wanted = project.coopery("run", "-r", "docker", "--json", env=logged_in)
    assert wanted.exit_code == 0, wanted.stderr
    to = f"{registry.host}/team/casks"
    answer = project.coopery("publish", "--to", to, "--tag", "1.0", "--json", env=logged_in)
    assert answer.exit_code == 0, answer.stderr
    image, bundle = answer.json
    assert (image["kind"], bundle["kind"]) == ("image", "bundle")
    again = project.coopery("publish", "--to", to, "--json", env=logged_in)
    assert [item["sent"] for item in again.json] == [0, 0]
    assert [item["reference"] for item in again.json] == [i["reference"] for i in answer.json]

    texts = [a.stdout + a.stderr for a in (wanted, answer, again)]
    files = [f for f in project.home.rglob("*") if f.is_file()]
    files += [f for f in (registry.folder / "blobs").rglob("*") if f.is_file()]
    idents = images_of(engine, project.home)
    assert idents
    for ident in idents:
        texts += [json.dumps(engine.inspect_image(ident)), json.dumps(engine.history(ident))]
    remove_images_of(engine, project.home)
    forget(engine, to)
    kept = [(f, f.read_bytes()) for f in files]
    shutil.rmtree(project.home)

    ran = elsewhere.coopery("run", "--json", "-f", bundle["reference"], env=logged_in)
    assert ran.exit_code == 0, ran.stderr
    steps = {step["step"]: step for step in ran.json["steps"]}
    kinds = {name: step["kind"] for name, step in steps.items()}
    assert kinds == {"image science": "pull", "prepare": "task", "fit@fold=0": "task",
                     "fit@fold=1": "task"}  # fmt: skip
    assert outputs(elsewhere.root) == outputs(project.root)
    assert sorted(p.name for p in elsewhere.root.iterdir()) == ["out"]
    places = elsewhere.home / "places"
    assert len([p for p in places.iterdir() if p.is_dir()]) == 1  # the note of what was pulled

    third = elsewhere.home.with_name("third")
    sweep(third)
    (elsewhere.root / "deep/er").mkdir(parents=True)
    anew = elsewhere.coopery(
        *("run", "--json", "-f", bundle["reference"]),
        cwd=elsewhere.root / "deep/er",
        env={**logged_in, "COOPERY_HOME": str(third)},
    )
    assert anew.exit_code == 0, anew.stderr
    keys = {name: step["key"] for name, step in steps.items()}
    assert {step["step"]: step["key"] for step in anew.json["steps"]} == keys
    assert outputs(elsewhere.root / "deep/er") == outputs(project.root)

    twice = elsewhere.run("-f", bundle["reference"], env=logged_out)
    assert performed(twice) == []
    more = elsewhere.coopery(
        *("run", "-f", f"{to}:1.0", "--set", "prepare.seed=5", "fit@fold=1"), env=logged_in
    )
    assert more.exit_code == 0, more.stderr
    assert outputs(elsewhere.root)["m1.txt"] == "42 5\nfrom the image\n1 cask\n"
    assert outputs(elsewhere.root)["m0.txt"] == "42 1\nfrom the image\n0 cask\n"
    for words in (["list"], ["graph"], ["validate"], ["why", "prepare"], ["status"]):
        told = elsewhere.coopery(*words, "-f", bundle["reference"], env=logged_out)
        assert told.exit_code == 0, told.stderr
        texts.append(told.stdout + told.stderr)
    got = elsewhere.coopery(
        "get", "-f", bundle["reference"], "prepare.table", "got.txt", env=logged_out
    )
    assert got.exit_code == 0, got.stderr
    assert (elsewhere.root / "got.txt").read_text().startswith("42 ")

    texts += [ran.stdout + ran.stderr, more.stdout + more.stderr]
    kept += [(f, f.read_bytes()) for f in elsewhere.home.rglob("*") if f.is_file()]
    secret = registry.password
    assert not [text for text in texts if secret in text]
    assert not [file for file, content in kept if secret.encode() in content]
    forget(engine, to)


@pytest.fixture
def small(registry: registries.Registry, engine: Any) -> Iterator[str]:
    """A small image that the registry has, and the engine has not."""
    name = f"small-{uuid.uuid4().hex[:8]}"
    engine.import_image_from_data(
        registries.small_image(f"as it is {name}\n"), repository=f"{name}:new"
    )
    ident = engine.inspect_image(f"{name}:new")["Id"]
    registry.push(engine, ident, name, "1")
    engine.remove_image(ident, force=True)
    yield f"{registry.host}/{name}:1"
    forget(engine, f"{registry.host}/{name}")


def test_an_image_as_it_is(
    project: Project,
    small: str,
    registry: registries.Registry,
    logged_out: Env,
    engine: Any,
    sweep: Callable[[Path], None],
) -> None:
    sweep(project.home)
    project.plugin(
        "purse",
        """
        import os
        from coopery.hooks import hookimpl

        @hookimpl
        def provide_secret(secret):
            return os.environ.get(secret.name)
        """,
    )
    recipe = f"""
registries = [
    {{ host = "{registry.host}", username = "ada", password = {{ secret = "HUB_PASSWORD" }} }},
]
defaults.runtime = "docker"
[image.small]
prebuilt = "{small}"
env.WORD = "hello"
[task.a]
image = "small"
command = ["sh", "-c", "cat /mark > {{outputs.o}}; echo $WORD >> {{outputs.o}}"]
outputs.o = "out.txt"
"""
    project.write("recipe.toml", recipe)
    refused = project.coopery("run", env={**logged_out, "HUB_PASSWORD": "no-such-9"})
    assert refused.exit_code == 3
    told = refused.told("registry-credentials")
    assert registry.host in told and "`registries` of the recipe" in told
    assert "no-such-9" not in refused.stderr
    env = {**logged_out, "HUB_PASSWORD": registry.password}
    steps = project.run(env=env)
    assert {name: step["kind"] for name, step in steps.items()} == {
        "image small": "pull",
        "a": "task",
    }
    assert project.read("out.txt").endswith("hello\n") and "as it is" in project.read("out.txt")
    [base] = tomllib.loads(project.read("recipe.lock"))["base"]
    assert base["reference"] == small and base["manifest"].startswith("sha256:")
    assert performed(project.run(env=env)) == []
    # Gone from the engine, it is pulled by its digest when a task needs it.
    forget(engine, small.rpartition(":")[0])
    project.write("recipe.toml", recipe.replace("hello", "hallo"))
    assert performed(project.run(env=env)) == ["image small", "a"]
    files = [f for f in (*project.home.rglob("*"), *project.root.rglob("*")) if f.is_file()]
    assert not [f for f in files if registry.password.encode() in f.read_bytes()]
    project.write("recipe.toml", recipe.replace("command", "function = 'os:getcwd'\n#"))
    answer = project.coopery("run", env=env)
    assert answer.exit_code == 2 and "has no Python" in answer.told("base-python")


def test_functions_find_the_python_of_an_image_as_it_is(
    project: Project, engine: Any, sweep: Callable[[Path], None]
) -> None:
    """It is `python3` there, and no `python` is in the PATH."""
    sweep(project.home)
    project.write(
        "recipe.py",
        """
        from pathlib import Path
        from coopery import Image, defaults, task
        defaults(runtime="docker")
        plain = Image(prebuilt="python:3.11-slim", python="3.11")

        @task(image=plain, outputs={"o": "o.txt"})
        def say(o: Path) -> None:
            o.write_text("said")
        """,
    )
    steps = project.run()
    assert steps["image plain"]["kind"] == "pull"
    assert project.read("o.txt") == "said"
    text = project.read("recipe.py").replace('python="3.11"', 'python="3.12"')
    project.write("recipe.py", text)
    answer = project.coopery("run")
    assert answer.exit_code == 2 and answer.slugs[0] in ("base-python", "python-mismatch")
