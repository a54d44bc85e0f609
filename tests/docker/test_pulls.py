"""Bases that a registry has, which wants to know who asks: pulled, pinned, refused, missing."""

from __future__ import annotations

import json
import os
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import registries
from docker.errors import ImageNotFound

from coopery.testing import Project, make_project, performed

Push = Callable[[str], str]
RECIPE = """
[image.i]
base = "{base}"

[task.a]
image = "i"
command = ["cat", "/mark"]
"""


@pytest.fixture(scope="module")
def push(registry: registries.Registry, engine: Any) -> Iterator[Push]:
    """Push a new image with a tag of this module's repository; the reference, which the engine has
    not.
    """
    name = f"small-{uuid.uuid4().hex[:8]}"

    def push(tag: str) -> str:
        data = registries.small_image(f"{tag} {uuid.uuid4().hex}\n")
        engine.import_image_from_data(data, repository=f"{name}:new")
        ident = engine.inspect_image(f"{name}:new")["Id"]
        registry.push(engine, ident, name, tag)
        engine.remove_image(ident, force=True)
        return f"{registry.host}/{name}:{tag}"

    yield push
    forget(engine, f"{registry.host}/{name}")


@pytest.fixture(scope="module")
def pushed(push: Push) -> str:
    """What the registry has from the beginning."""
    return push("always")


@pytest.fixture
def base(pushed: str, engine: Any) -> str:
    """A reference that the registry has, and the engine has not."""
    forget(engine, pushed.rpartition(":")[0])
    return pushed


def forget(engine: Any, repository: str) -> None:
    """Remove all images of a repository, by tag and by digest."""
    for image in engine.images():
        names = [*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())]
        for name in names:
            if name.startswith((f"{repository}:", f"{repository}@")):
                with suppress(ImageNotFound):  # the last tag takes the digest along
                    engine.remove_image(name, force=True)


@pytest.fixture
def puller(tmp_path: Path, sweep: Callable[[Path], None]) -> Project:
    """A project; what it leaves in the engine is removed afterwards."""
    project = make_project(tmp_path)
    sweep(project.home)
    return project


def configure(project: Project, config: dict[str, Any]) -> dict[str, str]:
    """Docker's configuration as a user has it; the variables that lead there."""
    folder = project.root.parent / "docker-config"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return {"DOCKER_CONFIG": str(folder)}


def log(steps: dict[str, Any]) -> str:
    """What the task printed."""
    return Path(steps["a"]["log"]).read_text()


def pinned(project: Project) -> str:
    """The digest that the lock holds."""
    (found,) = tomllib.loads(project.read("recipe.lock"))["base"]
    return str(found["manifest"])


def test_a_base_is_pulled_and_pinned_by_its_digest(
    puller: Project, push: Push, registry: registries.Registry, engine: Any
) -> None:
    env = configure(puller, registry.auths())
    reference = push("1")
    repository = reference.rpartition(":")[0]
    puller.write("recipe.toml", RECIPE.format(base=reference))
    first = puller.run("-r", "docker", env=env)
    mark, digest = log(first), pinned(puller)
    assert mark.startswith("1 ") and digest.startswith("sha256:")
    assert registry.manifest(repository.partition("/")[2], digest)

    # Another image under the tag is not seen, whether the engine has the old one or not.
    push("1")
    assert performed(puller.run("-r", "docker", env=env)) == []
    engine.remove_image(first["image i"]["facts"]["image"], force=True)
    forget(engine, repository)
    again = puller.run("-r", "docker", "--force", env=env)
    assert "image i" in performed(again) and log(again) == mark and pinned(puller) == digest
    assert f"{repository}@{digest}" in engine.inspect_image(f"{repository}@{digest}")["RepoDigests"]

    # It is, once the lock is to be renewed; although the engine has one of this name.
    engine.pull(repository, tag=digest, auth_config=registry.login)
    engine.tag(f"{repository}@{digest}", repository, "1")
    answer = puller.coopery("lock", "--upgrade", "-r", "docker", env=env)
    assert answer.exit_code == 0, answer.stderr
    assert pinned(puller) != digest
    renewed = log(puller.run("-r", "docker", env=env))
    assert renewed.startswith("1 ") and renewed != mark
    _nothing_leaked(puller, registry, answer.stdout + answer.stderr)


def test_what_was_made_here_is_asked_of_no_registry(puller: Project, engine: Any) -> None:
    """Also where the lock is to be renewed."""
    name = f"small-{uuid.uuid4().hex[:8]}"
    engine.import_image_from_data(registries.small_image(name), repository=f"{name}:1")
    try:
        reference = f"localhost/{name}:1" if _is_podman(engine) else f"{name}:1"
        puller.write("recipe.toml", RECIPE.format(base=reference))
        for _ in range(2):
            answer = puller.coopery("lock", "--upgrade", "-r", "docker")
            assert answer.exit_code == 0 and "pull " not in answer.stderr, answer.stderr
    finally:
        engine.remove_image(f"{name}:1", force=True)


def _is_podman(engine: Any) -> bool:
    return "podman" in json.dumps(engine.version(api_version=False)).lower()


def _nothing_leaked(project: Project, registry: registries.Registry, told: str) -> None:
    """The password, and how Docker writes it down, are nowhere but in its configuration."""
    secrets = (registry.password, registry.auths()["auths"][registry.host]["auth"])
    for secret in secrets:
        assert secret not in told
        for top in (project.root, project.home):
            for file in top.rglob("*"):
                if file.is_file() and not file.is_symlink():
                    assert secret.encode() not in file.read_bytes(), file


def helper(project: Project, name: str, script: str) -> dict[str, str]:
    """A program that holds credentials, in PATH."""
    folder = project.root.parent / "helpers"
    folder.mkdir(exist_ok=True)
    file = folder / f"docker-credential-{name}"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize("kind", ["auths", "https", "credHelpers", "credsStore", "home"])
def test_credentials_are_those_of_docker(
    puller: Project, base: str, registry: registries.Registry, kind: str
) -> None:
    """Wherever `docker login` and its helpers have put them."""
    asked = puller.root.parent / "asked"
    secret = json.dumps({"Username": registry.user, "Secret": registry.password})
    env = helper(puller, "attic", f"cat > {asked}; echo '{secret}'")
    entry = registry.auths()["auths"][registry.host]
    match kind:
        case "https":
            env |= configure(puller, {"auths": {f"https://{registry.host}/v2/": entry}})
        case "credHelpers":
            env |= configure(puller, {"credHelpers": {registry.host: "attic"}})
        case "credsStore":
            env |= configure(puller, {"auths": {registry.host: {}}, "credsStore": "attic"})
        case "home":
            folder = puller.root.parent / "somebody" / ".docker"
            folder.mkdir(parents=True)
            (folder / "config.json").write_text(json.dumps(registry.auths()))
            env |= {"HOME": str(folder.parent), "DOCKER_CONFIG": ""}
        case _:
            env |= configure(puller, registry.auths())
    puller.write("recipe.toml", RECIPE.format(base=base))
    answer = puller.coopery("lock", "-r", "docker", env=env)
    assert answer.exit_code == 0, answer.stderr
    assert asked.exists() == kind.startswith("cred")
    _nothing_leaked(puller, registry, answer.stdout + answer.stderr)


@pytest.mark.parametrize("kind", ["none", "wrong", "missing", "broken"])
def test_refused_credentials_are_told_and_not_shown(
    puller: Project, base: str, registry: registries.Registry, kind: str
) -> None:
    env = helper(puller, "attic", f"echo {registry.password}; echo locked >&2; exit 1")
    config, words = {
        "none": ({}, f"wants credentials, and {puller.root.parent}/docker-config/config.json"),
        "wrong": (registry.auths("falsch-91c2"), "refuses the credentials of"),
        "missing": ({"credsStore": "cellar"}, "docker-credential-cellar"),
        "broken": ({"credHelpers": {registry.host: "attic"}}, "docker-credential-attic"),
    }[kind]
    env |= configure(puller, config)
    puller.write("recipe.toml", RECIPE.format(base=base))
    answer = puller.coopery("run", "-r", "docker", env=env)
    assert answer.exit_code == 3 and answer.slugs == ("registry-credentials",), answer.stderr
    told = answer.told("registry-credentials")
    assert words in told and registry.host in told and "docker login" in told
    assert "recipe.toml:2 (image.i.base)" in told
    assert "falsch-91c2" not in answer.stderr and "Traceback" not in answer.stderr
    _nothing_leaked(puller, registry, answer.stdout + answer.stderr)


@pytest.mark.parametrize("what", ["tag", "repository", "registry", "digest"])
def test_a_base_that_is_not_there_has_its_place(
    puller: Project, registry: registries.Registry, base: str, what: str
) -> None:
    reference = {
        "tag": base.replace(":always", ":never"),
        "repository": f"{registry.host}/nobody:1",
        "registry": "localhost:9/small:1",
        "digest": f"{registry.host}/nobody@sha256:{'0' * 64}",
    }[what]
    puller.write("recipe.toml", RECIPE.format(base=reference))
    env = configure(puller, registry.auths())
    answer = puller.coopery("run", "-r", "docker", env=env)
    assert answer.exit_code == 3 and answer.slugs == ("base-missing",), answer.stderr
    told = answer.told("base-missing")
    assert "recipe.toml:2 (image.i.base)" in told and reference in told
    words = "the way to its registry" if what == "registry" else "check its name and tag"
    assert words in told


def test_every_base_that_is_not_there_is_told_once(puller: Project) -> None:
    text = "[image.a]\nbase = 'localhost:9/x:1'\n[image.b]\nbase = 'localhost:9/x:1'\n"
    text += "[image.c]\nbase = 'localhost:9/y:1'\n"
    text += "".join(f"[task.{n}]\nimage = '{n}'\ncommand = 'true'\n" for n in "abc")
    puller.write("recipe.toml", text)
    answer = puller.coopery("run", "-r", "docker")
    assert answer.slugs == ("base-missing", "base-missing"), answer.stderr
    assert "recipe.toml:2" in answer.stderr and "recipe.toml:6" in answer.stderr


def test_a_pinned_base_that_is_gone_everywhere(
    puller: Project, base: str, registry: registries.Registry, engine: Any
) -> None:
    """The lock has it, the engine has not, and the registry does not let one in any more."""
    reference = base
    puller.write("recipe.toml", RECIPE.format(base=reference))
    env = configure(puller, registry.auths())
    assert puller.coopery("lock", "-r", "docker", env=env).exit_code == 0
    repository = reference.rpartition(":")[0]
    forget(engine, repository)
    answer = puller.coopery("run", "-r", "docker", env=configure(puller, {}))
    assert answer.exit_code == 3 and "[registry-credentials]" in answer.stderr, answer.stderr
    assert "recipe.toml:1 (image.i)" in answer.stderr
    assert f"{repository}@{pinned(puller)}" in answer.stderr
