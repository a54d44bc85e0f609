"""Looking into images of real engines and a real registry: what is seen, and nothing starts."""

from __future__ import annotations

import _thread
import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
import registries
from docker.errors import APIError, ImageNotFound
from layered import ABSENT, FILES, STACK, archive_of, config_of, digest, file, folder, link, tar

from coopery.errors import MachineError
from coopery.glimpses import LARGEST_FILE, Glimpse
from coopery.logins import RegistryLogin
from coopery.model import Secret
from coopery.options import Settings
from coopery.plugins import Plugins
from coopery.secrets import Secrets, no_secrets
from coopery.testing import Project
from coopery_docker import glimpses
from coopery_docker.notes import HOME, home_id, runs_noted
from coopery_publish.client import Client
from coopery_publish.logins import Login
from coopery_publish.transfer import Repository

CONFIG = {
    "Labels": {"kind": "cask", "mark": uuid.uuid4().hex},
    "Entrypoint": ["/no/such/program"],
    "Cmd": ["x"],
    "Env": ["WORD=a=b"],
    "User": "12:34",
    "WorkingDir": "/etc",
}
AWKWARD = tar(
    file("large", b"x" * (LARGEST_FILE + 1)),
    file("most", b"x" * LARGEST_FILE),
    link("to-large", "large"),
    link("a", "b"),
    link("b", "a"),
    file("owned", b"by root alone", mode=0o600),
    file("set", b"user id", mode=0o4755),
    folder("kept"),
    file("kept/in", b"in a volume"),
)


def pack(name: str) -> bytes:
    return archive_of([tar(*layer) for layer in STACK], CONFIG, name)


@pytest.fixture(scope="module")
def image(engine: Any) -> Iterator[str]:
    """An image of awkward layers; its program is not there, so that it could not even be run."""
    name = f"coopery-glimpse-{uuid.uuid4().hex[:8]}:1"
    engine.load_image(pack(name))
    yield name
    with suppress(APIError):
        engine.remove_image(name, force=True)


@pytest.fixture
def awkward(engine: Any) -> Iterator[str]:
    name = f"coopery-glimpse-{uuid.uuid4().hex[:8]}:1"
    engine.load_image(archive_of([AWKWARD], {"Volumes": {"/kept": {}}}, name))
    yield name
    with suppress(APIError):
        engine.remove_image(name, force=True)


@pytest.fixture
def look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: Callable[[Path], None]
) -> Callable[..., Glimpse]:
    """Ask the plugins; what they tell is in the list that is given as `told`."""
    monkeypatch.setenv("COOPERY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    sweep(tmp_path / "home")
    plugins = Plugins.discover()
    settings = settings_of(tmp_path / "home")

    def ask(reference: str, *paths: str, told: list[str] | None = None, **more: Any) -> Glimpse:
        tell = (told if told is not None else []).append
        secrets = more.pop("secrets", no_secrets())
        return plugins.look_into_image(reference, paths, settings, tell, secrets, **more)

    return ask


def settings_of(home: Path) -> Settings:
    from coopery.options import CoreOptions, Sourced

    return Settings({CoreOptions: {"home": Sourced(str(home), "flag")}})


def containers(engine: Any, home: Path) -> list[Any]:
    label = {"label": [f"{HOME}={home_id(home)}"]}
    return list(engine.containers(all=True, filters=label))


def test_what_the_engine_has_is_seen_and_never_started(
    look: Callable[..., Glimpse], image: str, engine: Any, tmp_path: Path
) -> None:
    began = time.time()
    told: list[str] = []
    found = look(image, *FILES, *ABSENT, "/etc/hosts", "/.dockerenv", told=told)
    ended = time.time()
    assert dict(found.files) == FILES and told == []
    assert found.id == engine.inspect_image(image)["Id"] and found.source == "engine"
    assert (found.labels, found.env) == (CONFIG["Labels"], {"WORD": "a=b"})
    assert (found.entrypoint, found.command) == (("/no/such/program",), ("x",))
    assert (found.user, found.workdir) == ("12:34", "/etc")
    label = f"{HOME}={home_id(tmp_path / 'home')}"
    events = engine.events(
        since=int(began) - 1,
        until=int(ended) + 1,
        filters={"type": "container", "label": [label]},
        decode=True,
    )
    actions = {event["Action"] for event in events}
    assert {"create", "destroy"} <= actions and not {"start", "die", "exec_create"} & actions
    assert containers(engine, tmp_path / "home") == []
    assert runs_noted(tmp_path / "home") == []


def test_labels_need_no_container(
    look: Callable[..., Glimpse], image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glimpses, "connect", None)  # it would be called for one
    found = look(image)
    assert found.labels == CONFIG["Labels"] and found.files == {}
    assert look(found.id).labels == found.labels
    assert not (tmp_path / "home").exists()


def test_awkward_files(
    look: Callable[..., Glimpse], awkward: str, engine: Any, tmp_path: Path
) -> None:
    found = look(awkward, "/most", "/owned", "/set", "/kept/in", "/kept")
    assert {path: len(content) for path, content in found.files.items()} == {
        "/most": LARGEST_FILE, "/owned": 13, "/set": 7, "/kept/in": 11,
    }  # fmt: skip
    for path, slug in (
        ("/large", "image-file-size"),
        ("/to-large", "image-file-size"),
        ("/a", "image-damaged"),
        ("/a/x", "image-damaged"),
    ):
        with pytest.raises(MachineError, match=slug) as error:
            look(awkward, path)
        assert path in str(error.value) and awkward in str(error.value)
    assert containers(engine, tmp_path / "home") == []


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError()])
def test_errors_leave_no_container(
    look: Callable[..., Glimpse],
    image: str,
    engine: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fail(*given: object) -> None:
        assert len(containers(engine, tmp_path / "home")) == 1
        raise error

    monkeypatch.setattr(glimpses, "_read", fail)
    with pytest.raises(MachineError, match="plugin-raised"):
        look(image, "/etc/name")
    assert containers(engine, tmp_path / "home") == []


def test_interrupts_leave_no_container(
    look: Callable[..., Glimpse],
    image: str,
    engine: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def slow(*given: Any) -> None:
        asked.append(given[-1])
        threading.Timer(0.1, _thread.interrupt_main).start()
        time.sleep(0.5)

    monkeypatch.setattr(glimpses, "_read", slow)
    with pytest.raises(KeyboardInterrupt):
        look(image, "/etc/name", "/first")
    assert asked == ["/etc/name"]
    assert containers(engine, tmp_path / "home") == []
    assert runs_noted(tmp_path / "home") == []


KILLED = """
import os, signal, sys
from pathlib import Path
from coopery_docker import glimpses

glimpses._read = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
glimpses.look(sys.argv[1], ("/etc/name",), Path(sys.argv[2]), print)
"""


def test_what_a_killed_one_leaves_is_found(
    project: Project, image: str, engine: Any, sweep: Callable[[Path], None]
) -> None:
    sweep(project.home)
    command = [sys.executable, "-c", KILLED, image, str(project.home)]
    done = subprocess.run(command, env=project.environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(containers(engine, project.home)) == 1
    answer = project.coopery("doctor", "--mend")
    assert "removed container" in answer.stdout + answer.stderr
    assert containers(engine, project.home) == [] and runs_noted(project.home) == []


@pytest.fixture(scope="module")
def pushed(engine: Any, registry: registries.Registry) -> str:
    """The image in a registry that wants credentials, and not in the engine."""
    name = f"glimpse-{uuid.uuid4().hex[:8]}"
    engine.load_image(pack(f"{name}:new"))
    registry.push(engine, f"{name}:new", name, "1")
    engine.remove_image(f"{name}:new", force=True)
    for image in engine.images(f"{registry.host}/{name}"):
        engine.remove_image(image["Id"], force=True)
    return f"{registry.host}/{name}:1"


def log_in(folder: Path, registry: registries.Registry, password: str | None = None) -> None:
    (folder / "config.json").write_text(json.dumps(registry.auths(password)))


def test_what_a_registry_has_is_seen_without_the_engine(
    look: Callable[..., Glimpse],
    pushed: str,
    registry: registries.Registry,
    engine: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log_in(tmp_path, registry)
    told: list[str] = []
    found = look(pushed, *FILES, *ABSENT, told=told)
    assert dict(found.files) == FILES and found.source == registry.host
    assert (found.labels, found.user) == (CONFIG["Labels"], "12:34")
    assert told == [f"look     the container engine has no image {pushed}"]
    with pytest.raises(ImageNotFound):
        engine.inspect_image(pushed)
    # As the engine has it, which comes first, and has the same digest for it.
    engine.load_image(pack(pushed))
    try:
        here = look(pushed, *FILES)
        assert here.source == "engine"
    finally:
        engine.remove_image(pushed, force=True)
    assert (here.id, here.files, here.labels) == (found.id, found.files, found.labels)
    # And where there is no engine.
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    told = []
    assert look(pushed, "/etc/name", told=told).files == {"/etc/name": b"new"}
    assert "no container engine answers" in told[0]


def test_who_may_see_it(
    look: Callable[..., Glimpse], pushed: str, registry: registries.Registry, tmp_path: Path
) -> None:
    with pytest.raises(MachineError, match="registry-credentials") as error:
        look(pushed)
    assert "no container engine here has it" in str(error.value) and "docker login" in str(error)
    log_in(tmp_path, registry, "no-such-41b")
    with pytest.raises(MachineError, match="refuses the credentials") as error:
        look(pushed)
    assert "no-such-41b" not in str(error.value)
    login = RegistryLogin(host=registry.host, username="ada", password=Secret(name="PW"))
    secrets = Secrets(lambda secret: registry.password)
    assert look(pushed, "/up", secrets=secrets, login=login).files == {"/up": b"new"}
    log_in(tmp_path, registry)
    with pytest.raises(MachineError, match="image-not-found") as error:
        look(pushed.replace(":1", ":2"))
    told = str(error.value)
    assert "no container engine" in told and registry.host in told and "docker login" in told


def test_an_index_of_a_real_registry(
    look: Callable[..., Glimpse], pushed: str, registry: registries.Registry, tmp_path: Path
) -> None:
    log_in(tmp_path, registry)
    name = pushed.rpartition("/")[2].partition(":")[0]
    login = Login("the test", registry.user, registry.password)
    repository = Repository(Client(registry.host, lambda: login), name)
    found = repository.manifest("1")
    assert found is not None
    raw, ident, kind = found
    entry = {"mediaType": kind, "digest": ident, "size": len(raw)}
    entry["platform"] = {"os": "linux", "architecture": "vax"}
    media_type = "application/vnd.docker.distribution.manifest.list.v2+json"
    index = {"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]}
    repository.put_manifest(json.dumps(index).encode(), media_type, "list")
    told: list[str] = []
    seen = look(f"{registry.host}/{name}:list", "/second", told=told)
    assert seen.files == {"/second": b"linked"} and "linux/vax" in told[-1]
    by_digest = look(f"{registry.host}/{name}@{ident}", "/second", "/none")
    assert by_digest.files == {"/second": b"linked"}


def test_in_podman(
    look: Callable[..., Glimpse], podman: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = docker.APIClient(podman, version="auto")
    monkeypatch.setenv("DOCKER_HOST", podman)
    api.load_image(pack("glimpse:1"))
    api.load_image(archive_of([AWKWARD], {"Volumes": {"/kept": {}}}, "awkward:1"))
    try:
        some = ("/etc/name", "/lib2/lower", "/chain", "/second", "/empty")  # each takes a while
        found = look("glimpse:1", *some, "/opaque/below", "/dangling", "/etc", "/etc/hosts")
        assert dict(found.files) == {path: FILES[path] for path in some}
        assert found.source == "engine"
        assert (found.labels, found.user) == (CONFIG["Labels"], "12:34")
        assert found.id.startswith("sha256:") and look(found.id).id == found.id
        told: list[str] = []
        seen = look("awkward:1", "/most", "/owned", "/set", "/kept/in", told=told)
        assert sorted(seen.files) == ["/most", "/owned", "/set"]
        assert "/kept/in is not read" in told[0] and "volume" in told[0]
        for path, slug in (("/large", "image-file-size"), ("/a", "image-damaged")):
            with pytest.raises(MachineError, match=slug):
                look("awkward:1", path)
        assert containers(api, tmp_path / "home") == []
        assert api.containers(all=True) == []
        assert not api.volumes()["Volumes"]
    finally:
        for name in ("glimpse:1", "awkward:1"):
            api.remove_image(name, force=True)
        api.close()


def test_its_id_is_the_digest_of_its_configuration(
    look: Callable[..., Glimpse], image: str
) -> None:
    assert look(image).id == digest(config_of([tar(*layer) for layer in STACK], CONFIG))
