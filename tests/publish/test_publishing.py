"""`publish` to a real registry: the same tasks are the same bytes, without secrets, sent once."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import registries

from coopery.testing import Project, make_project

from .conftest import DIGEST, RECIPE

Env = dict[str, str]


def publish(project: Project, to: str, env: Env, *arguments: str) -> list[dict[str, Any]]:
    """`coopery publish --json`; the answer."""
    answer = project.coopery("publish", "--to", to, "--json", *arguments, env=env)
    assert answer.exit_code == 0, answer.stderr
    found: list[dict[str, Any]] = answer.json
    return found


def blob(registry: registries.Registry, name: str, digest: str) -> bytes:
    """What a registry has under a digest, as it keeps it."""
    value = digest.removeprefix("sha256:")
    path = registry.folder / "blobs/docker/registry/v2/blobs/sha256" / value[:2] / value / "data"
    return path.read_bytes()


def parts(registry: registries.Registry, reference: str) -> tuple[dict[str, Any], list[bytes]]:
    """The recipe of a bundle, and its layers."""
    name, _, digest = reference.partition("/")[2].partition("@")
    manifest = json.loads(blob(registry, name, digest))
    config = json.loads(blob(registry, name, manifest["config"]["digest"]))
    return config, [blob(registry, name, layer["digest"]) for layer in manifest["layers"]]


def test_a_bundle_is_an_artifact_that_says_what_runs(
    bundled: Project, registry: registries.Registry, logged_in: Env
) -> None:
    to = f"{registry.host}/team/says"
    [found] = publish(bundled, to, logged_in, "--tag", "1.0", "--tag", "newest")
    assert found["kind"] == "bundle"
    assert found["reference"].startswith(f"{to}@sha256:")
    own = f"{to}:bundle-{found['reference'].rpartition(':')[2][:24]}"
    assert found["names"] == [own, f"{to}:1.0", f"{to}:newest"]
    name, _, digest = found["reference"].partition("@")
    manifest = json.loads(blob(registry, name, digest))
    assert manifest["artifactType"] == "application/vnd.coopery.bundle.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.coopery.bundle.v1+json"
    recipe, layers = parts(registry, found["reference"])
    assert recipe["version"] == 1
    tables = recipe["recipe"]
    assert tables["defaults"] == {"runtime": "docker"}
    assert tables["image"]["plain"]["prebuilt"] == {
        "reference": f"quay.example/team/plain@{DIGEST}",
        "platform": "linux/amd64",
    }
    assert tables["task"]["fit"]["inputs"] == {"raw": {"path": "data/raw.txt"}}
    with tarfile.open(fileobj=io.BytesIO(layers[0])) as archive:
        assert archive.getnames() == ["project", "project/data", "project/data/raw.txt"]


def test_two_checkouts_make_the_same_bytes_and_send_them_once(
    tmp_path: Path, registry: registries.Registry, logged_in: Env
) -> None:
    to = f"{registry.host}/team/twice"
    found = []
    for name in ("one", "another/place"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        project = make_project(folder)
        project.write("recipe.toml", RECIPE + "params.depth = 3\n")
        project.write("data/raw.txt", "staves\n").chmod(0o600 if name == "one" else 0o644)
        found += publish(project, to, logged_in)
    assert found[0]["reference"] == found[1]["reference"]
    assert found[0]["sent"] > 0
    assert found[1]["sent"] == 0


def test_a_large_input_is_a_layer_of_its_own(
    bundled: Project, registry: registries.Registry, logged_in: Env
) -> None:
    to = f"{registry.host}/team/large"
    (bundled.root / "data/big.bin").write_bytes(bytes(range(256)) * 80_000)
    more = 'inputs.big = "data/big.bin"\n'
    bundled.write("recipe.toml", RECIPE + more)
    [first] = publish(bundled, to, logged_in)
    assert first["sent"] > 20_000_000  # more than goes in one request
    _, layers = parts(registry, first["reference"])
    assert len(layers) == 2
    bundled.write("data/raw.txt", "hoops\n")
    [second] = publish(bundled, to, logged_in)
    assert 0 < second["sent"] < 100_000
    assert second["reference"] != first["reference"]


def test_nothing_of_the_password_or_of_this_machine_is_anywhere(
    bundled: Project, registry: registries.Registry, logged_in: Env, tmp_path: Path
) -> None:
    to = f"{registry.host}/team/quiet"
    answer = bundled.coopery("publish", "--to", to, "--debug", env=logged_in)
    assert answer.exit_code == 0, answer.stderr
    needles = [registry.password.encode(), json.dumps(registry.auths()).encode()[40:80]]
    texts = [answer.stdout.encode(), answer.stderr.encode()]
    for folder in (bundled.home, bundled.root):
        texts += [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    config, layers = parts(registry, answer.stdout.strip())
    for text in (*texts, json.dumps(config).encode(), *layers):
        assert not any(needle in text for needle in needles)
    for text in (json.dumps(config).encode(), *layers):
        assert str(tmp_path).encode() not in text


def test_functions_travel_as_pickles(
    project: Project, registry: registries.Registry, logged_in: Env, elsewhere: Project
) -> None:
    project.write(
        "recipe.py",
        f"""
        from pathlib import Path
        from coopery import Image, task
        plain = Image(prebuilt={{"reference": "quay.example/p@{DIGEST}", "platform": "linux/amd64",
                      "python": "3.11.2", "executable": "/usr/bin/python3"}}, python="3.11")
        FACTOR = 3

        @task(image=plain, inputs={{"raw": "raw.txt"}}, outputs={{"out": "out.txt"}},
              description="made here")
        def fit(raw: Path, out: Path, depth: int = 2) -> None:
            out.write_text(str(FACTOR * depth))
        """,
    )
    project.write("raw.txt", "x")
    [found] = publish(project, f"{registry.host}/team/functions", logged_in)
    config, layers = parts(registry, found["reference"])
    task = config["recipe"]["task"]["fit"]
    assert "function" not in task and task["pickled"]["accepts"] == ["raw", "out", "depth"]
    assert str(project.root).encode() not in b"".join(layers)
    to = f"{registry.host}/team/functions"
    assert publish(elsewhere, to, logged_in, "-f", found["reference"])[0]["sent"] == 0
    steps = []
    for home in (elsewhere.home, elsewhere.home.with_name("home2")):
        env = {**logged_in, "COOPERY_HOME": str(home)}
        answer = elsewhere.coopery(
            "run", "-f", found["reference"], "--dry-run", "--json", "--set", "fit.depth=5", env=env
        )
        assert answer.exit_code == 0, answer.stderr
        steps.append(answer.json["steps"])
    assert [s["step"] for s in steps[0]] == ["image plain", "fit"]
    keys = [[s["key"] for s in each] for each in steps]
    assert keys[0] == keys[1] and all(key for key in keys[0][:1])


def test_credentials_of_the_recipe(
    bundled: Project, registry: registries.Registry, logged_out: Env
) -> None:
    to = f"{registry.host}/team/named"
    named = f"""
    registries = [
        {{ host = "{registry.host}", username = "ada", password = {{ secret = "HUB_PASSWORD" }} }},
    ]
    """
    bundled.write("recipe.toml", named.strip() + "\n" + RECIPE)
    bundled.plugin(
        "purse",
        """
        import os
        from coopery.hooks import hookimpl

        @hookimpl
        def provide_secret(secret):
            return os.environ.get(secret.name)
        """,
    )
    refused = bundled.coopery("publish", "--to", to, env={**logged_out, "HUB_PASSWORD": "wrong-1"})
    assert refused.exit_code == 3
    told = refused.told("registry-credentials")
    assert registry.host in told and "team/named" in told and "`registries` of the recipe" in told
    assert "wrong-1" not in refused.stderr
    env = {**logged_out, "HUB_PASSWORD": registry.password}
    [found] = publish(bundled, to, env)
    config, _ = parts(registry, found["reference"])
    assert "registries" not in config["recipe"]


def test_without_credentials_it_says_who_wants_them(
    bundled: Project, registry: registries.Registry, logged_out: Env
) -> None:
    answer = bundled.coopery("publish", "--to", f"{registry.host}/team/none", env=logged_out)
    assert answer.exit_code == 3
    told = answer.told("registry-credentials")
    assert f"docker login {registry.host}" in told and "team/none" in told


def test_a_credential_helper_is_asked(
    bundled: Project, registry: registries.Registry, tmp_path: Path
) -> None:
    folder = tmp_path / "helped"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"credHelpers": {registry.host: "barrel"}}))
    helper = folder / "docker-credential-barrel"
    answer = {"Username": registry.user, "Secret": registry.password}
    seen = f'echo "$1 $host" > {folder}/asked; env > {folder}/env'
    helper.write_text(f"#!/bin/sh\nread host; {seen}\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    helper.chmod(0o755)
    env = {"DOCKER_CONFIG": str(folder), "PATH": f"{folder}:/usr/bin:/bin"}
    bundled.write("recipe.toml", RECIPE + 'secrets.token = { secret = "CASK_TOKEN" }\n')
    publish(bundled, f"{registry.host}/team/helped", {**env, "CASK_TOKEN": "of-no-business-5"})
    assert "of-no-business-5" not in (folder / "env").read_text()
    assert (folder / "asked").read_text() == f"get {registry.host}\n"
    helper.write_text(f"#!/bin/sh\necho {registry.password} >&2; exit 1\n")
    refused = bundled.coopery("publish", "--to", f"{registry.host}/team/helped2", env=env)
    assert "docker-credential-barrel" in refused.told("registry-credentials")
    assert registry.password not in refused.stderr


def test_a_third_party_takes_a_parcel_elsewhere(bundled: Project, tmp_path: Path) -> None:
    bundled.plugin(
        "shelf",
        """
        import shutil
        from pathlib import Path
        from coopery.bundles import Published
        from coopery.hooks import hookimpl

        @hookimpl
        def publish(parcel, tell):
            if not parcel.target.startswith("shelf://"):
                return None
            folder = Path(parcel.target.removeprefix("shelf://"))
            folder.mkdir()
            bundle = parcel.bundle({i.name: i.pinned for i in parcel.images})
            for blob in (*bundle.blobs, bundle.manifest):
                with blob.open() as source, (folder / blob.digest).open("wb") as target:
                    shutil.copyfileobj(source, target)
            tell(f"shelved {len(bundle.blobs)}")
            return [Published(kind="bundle", reference=f"{parcel.target}/{bundle.manifest.digest}")]

        @hookimpl
        def fetch_recipe(reference):
            if reference.startswith("shelf://"):
                return Path(reference.removeprefix("shelf://")) / "recipe.toml"
        """,
    )
    shelf = tmp_path / "shelf"
    answer = bundled.coopery("publish", "--to", f"shelf://{shelf}")
    assert answer.exit_code == 0, answer.stderr
    digest = answer.stdout.strip().rpartition("/")[2]
    assert json.loads((shelf / digest).read_bytes())["schemaVersion"] == 2
    assert "shelved 2" in answer.stderr
    shutil.copy(bundled.root / "recipe.toml", shelf)
    (shelf / "data").mkdir()
    shutil.copy(bundled.root / "data/raw.txt", shelf / "data")
    listed = bundled.coopery("list", "-r", "docker", "-f", f"shelf://{shelf}")
    assert listed.exit_code == 0 and "fit" in listed.stdout, listed.stderr
    nobody = bundled.coopery("publish", "--to", "cellar://x")
    assert nobody.exit_code == 2 and "cellar://x" in nobody.told("no-publisher")


@pytest.mark.parametrize(
    ("to", "arguments", "slug"),
    [
        ("localhost:1/UPPER", (), "bad-reference"),
        ("localhost:1/team/x:1", (), "bad-reference"),
        ("localhost:1/team/x", ("--tag", ".no"), "bad-option"),
        ("localhost:1/team/x", ("fitt",), "unknown-target"),
        ("localhost:1/team/x", ("-r", "local"), "runtime-without-images"),
        ("localhost:1/team/x", (), "registry-unreachable"),
    ],
)
def test_wrong_calls(
    bundled: Project, logged_out: Env, to: str, arguments: tuple[str, ...], slug: str
) -> None:
    answer = bundled.coopery("publish", "--to", to, *arguments, env=logged_out)
    assert answer.exit_code in (2, 3)
    assert answer.slugs == (slug,), answer.stderr


def test_credentials_in_the_target_are_not_repeated(bundled: Project) -> None:
    answer = bundled.coopery("publish", "--to", "ada:geheim-3x@localhost:1/team/x")
    assert answer.slugs == ("bad-reference",) and "geheim-3x" not in answer.stderr


def test_what_looks_like_credentials_is_not_published(bundled: Project, logged_out: Env) -> None:
    bundled.write("data/.env", "TOKEN=x")
    recipe = RECIPE.replace('"data/raw.txt"', '"data"').replace(
        "cat {inputs.raw}", "ls {inputs.raw}"
    )
    bundled.write("recipe.toml", recipe)
    answer = bundled.coopery("publish", "--to", "localhost:1/team/x", env=logged_out)
    assert answer.exit_code == 2
    assert ".env" in answer.told("credential-file")


def test_killed_anywhere_it_runs_again(
    bundled: Project, registry: registries.Registry, logged_in: Env
) -> None:
    """What lies in the registry is a bundle only once all of it is there."""
    to = f"{registry.host}/team/killed"
    (bundled.root / "data/big.bin").write_bytes(b"x" * 50_000_000)
    bundled.write("recipe.toml", RECIPE + 'inputs.big = "data/big.bin"\n')
    for after in (0.3, 0.6, 0.9, 1.2):
        process = bundled.start("publish", "--to", to, "--tag", "t", env=logged_in)
        with suppress(subprocess.TimeoutExpired):
            process.wait(after)
        process.kill()
        process.communicate()
    [found] = publish(bundled, to, logged_in, "--tag", "t")
    assert len(parts(registry, found["reference"])[1]) == 2
    assert not list((bundled.home / "bundles").glob(".new-*"))


def test_a_function_that_its_image_cannot_read_is_not_published(
    project: Project, logged_out: Env
) -> None:
    """Before any registry is asked: an image that is used as it is has another Python."""
    project.write(
        "recipe.py",
        f"""
        from coopery import Image, task
        far = Image(prebuilt={{"reference": "quay.example/p@{DIGEST}", "platform": "linux/amd64",
                    "python": "3.99.1", "executable": "/usr/bin/python3"}})

        @task(image=far, outputs={{"out": "out.txt"}})
        def fit(out):
            out.write_text("x")
        """,
    )
    answer = project.coopery("publish", "--to", "localhost:1/team/x", env=logged_out)
    told = answer.told("base-python")
    assert answer.exit_code == 2 and answer.slugs == ("base-python",)
    assert "run coopery with Python 3.99" in told and '"module:function"' in told
    named = project.coopery("run", "-r", "docker", "--dry-run")
    assert named.slugs == ("base-python",)
