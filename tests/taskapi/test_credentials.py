"""Who a task.json says one is at its image's registry: used, and written down nowhere (K7)."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from registries import Registry

from coopery.testing.traces import traces, traces_in, traces_in_processes

from .conftest import Bench, bind

pytestmark = pytest.mark.xdist_group("taskapi-probes")


@pytest.fixture
def guarded(bench: Bench, registry: Registry) -> Iterator[dict[str, Any]]:
    """A task whose image only the registry has, which wants to know who asks."""
    name = f"probes-{uuid.uuid4().hex[:8]}"
    registry.push(bench.engine, bench.image, name, "1")
    config = {
        "registryUrl": f"https://{registry.host}/team",
        "registryUsername": registry.user,
        "registryPassword": registry.password,
    }
    reference = f"{registry.host}/{name}:1"
    from docker.errors import ImageNotFound

    yield bench.task(image=reference, config=config)
    for image in bench.engine.images(f"{registry.host}/{name}"):
        for known in [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())]:
            if known.startswith(f"{registry.host}/{name}"):
                with suppress(ImageNotFound):  # it went with its tag
                    bench.engine.remove_image(known, force=True)


def nobody(bench: Bench) -> dict[str, str]:
    """An environment in which Docker's own configuration knows nobody."""
    return {"DOCKER_CONFIG": str(bench.project.root / "none")}


def written(bench: Bench, secret: str) -> list[str]:
    """Traces of a secret in all that was written, but for the document that holds it."""
    (bench.project.root / "task.json").unlink()
    return traces(secret, [bench.project.root, bench.project.home])


@pytest.mark.parametrize("how", ["text", "variable"])
def test_the_registry_is_told_who_asks(
    bench: Bench, guarded: dict[str, Any], registry: Registry, how: str
) -> None:
    env = nobody(bench)
    if how == "variable":
        guarded["config"]["registryPassword"] = "{{ env.REGISTRY_PASSWORD }}"
        env["REGISTRY_PASSWORD"] = registry.password
    answer = bench.coopery(guarded, "--verbose", env=env)
    assert answer.exit_code == 0, answer.stderr
    assert (bench.out / "a.txt").read_text() == "a" * 10
    assert ("[password-as-text]" in answer.stderr) == (how == "text")
    assert traces_in((answer.stdout + answer.stderr).encode(), registry.password) == []
    assert written(bench, registry.password) == []
    assert traces_in_processes(registry.password) == []


def test_while_it_runs_nobody_else_knows_it(
    bench: Bench, guarded: dict[str, Any], registry: Registry
) -> None:
    """Neither the container, nor any process by its arguments."""
    go = bench.project.root / "go"
    go.mkdir()
    inline = bench.looking("wait:/data/go/now")["taskTemplate"]
    inline["inputs"] = [{"name": "go", "mounted_path": "/data/go"}]
    task = {**guarded, "taskTemplate": inline, "inputs": [bind("go", go)], "outputs": []}
    run = bench.start(task, "--verbose")
    try:
        inspected = bench.container(run)
        assert traces_in(json.dumps(inspected).encode(), registry.password) == []
        assert traces_in_processes(registry.password) == []
    finally:
        (go / "now").touch()
        told = run.communicate(timeout=60)
    assert run.returncode == 0, told[1]
    assert traces_in("".join(told).encode(), registry.password) == []
    assert written(bench, registry.password) == []


def test_a_wrong_password_is_refused_unsaid(
    bench: Bench, guarded: dict[str, Any], registry: Registry
) -> None:
    password = "falsch-91c2-falsch"
    guarded["config"]["registryPassword"] = password
    answer = bench.coopery(guarded, "--verbose", env=nobody(bench))
    assert (answer.exit_code, answer.slugs) == (3, ("registry-credentials",)), answer.stderr
    told = answer.told("registry-credentials")
    assert registry.host in told and "/task.json:" in told
    assert traces_in((answer.stdout + answer.stderr).encode(), password) == []
    assert "Traceback" not in answer.stderr and not bench.out.exists()
    assert written(bench, password) == []


def test_another_registry_is_told_nothing(
    bench: Bench, guarded: dict[str, Any], registry: Registry
) -> None:
    guarded["config"]["registryUrl"] = "registry.example"
    answer = bench.coopery(guarded, env=nobody(bench))
    assert answer.exit_code == 3 and "[other-registry]" in answer.stderr
    assert answer.slugs == ("registry-credentials",), answer.stderr
    assert traces_in((answer.stdout + answer.stderr).encode(), registry.password) == []


def test_it_is_remembered_without_it(
    bench: Bench, guarded: dict[str, Any], registry: Registry
) -> None:
    """The password is in no key: with another one, what was made is there still."""
    env = {**nobody(bench), "REGISTRY_PASSWORD": registry.password}
    guarded["config"]["registryPassword"] = "{{ env.REGISTRY_PASSWORD }}"
    first = bench.run(guarded, "--remember", env=env)
    log = Path(first["log"]).read_text()
    assert not first["cached"] and registry.password not in log
    assert "REGISTRY_PASSWORD" not in log
    assert bench.run(guarded, "--remember", env=env)["cached"]
    assert written(bench, registry.password) == []


def test_a_password_that_is_filled_in_is_written_nowhere(bench: Bench) -> None:
    """The container gets it; records, logs, run files and `explain` do not."""
    secret = f"pass-{uuid.uuid4().hex}"
    command = ["sh", "-c", 'printf %s "$DB_PASSWORD" | sha256sum; echo "$DB_PASSWORD"']
    template: dict[str, Any] = {"identifier": "t", "description": "d", "command": command}
    template["env"] = [{"name": "DB_PASSWORD", "value": "none"}]
    given = [{"name": "DB_PASSWORD", "value": "{{ env.GIVEN }}"}]
    document = {"name": "t", "image": bench.image, "taskTemplate": template, "env": given}
    for runtime in "docker", "local":
        answer = bench.coopery(document, "-r", runtime, "-v", env={"GIVEN": secret})
        assert answer.exit_code == 0, answer.stderr
        run = json.loads(answer.stdout)["run"]
        log = (bench.project.home / "runs" / run / "logs" / "t.log").read_text("utf-8")
        assert log.split()[0] == hashlib.sha256(secret.encode()).hexdigest()
        assert log.splitlines()[1] == "****"
        told = answer.stdout + answer.stderr
    for arguments in (), ("--json",):
        shown = bench.project.coopery("explain", "task.json", *arguments, env={"GIVEN": secret})
        told += shown.stdout + shown.stderr
        assert "****" in shown.stdout
    assert not traces_in(told.encode(), secret)
    assert not written(bench, secret)
