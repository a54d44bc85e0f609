"""Bundles of others, which nobody should trust: refused, and nothing of them lies anywhere."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from coopery.errors import MachineError
from coopery.testing import Project
from coopery_publish.bundling import ARTIFACT, LAYER, MANIFEST
from coopery_publish.unpacking import read_recipe

from .conftest import DIGEST, Asked, Speaker

Table = dict[str, Any]
IMAGE = {"prebuilt": {"reference": f"q.example/x@{DIGEST}", "platform": "linux/amd64"}}
TASK = {"image": "i", "command": ["true"]}


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def member(name: str, content: bytes = b"", **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=target)


def serve(
    speaker: Speaker,
    layer: bytes = b"",
    recipe: object = None,
    config: bytes | None = None,
    change: Callable[[Table], object] = lambda manifest: None,
    lies: Mapping[bytes, bytes] = {},
) -> str:
    """Have the registry serve a bundle; its reference."""
    tables = {"defaults": {"runtime": "docker"}, "image": {"i": IMAGE}, "task": {"t": TASK}}
    recipe = {"version": 1, "recipe": tables} if recipe is None else recipe
    config = json.dumps(recipe).encode() if config is None else config
    manifest: Table = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": {"mediaType": ARTIFACT, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": len(layer)}],
    }
    change(manifest)
    raw = json.dumps(manifest).encode()
    known = {digest(each): lies.get(each, each) for each in (layer, config, raw)}

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        found = known.get(asked.path.rpartition("/")[2])
        return (404, {}, b"") if found is None else (200, {"Content-Type": MANIFEST}, found)

    speaker.handler = answer
    return f"{speaker.host}/team/x@{digest(raw)}"


def refused(project: Project, reference: str, env: Mapping[str, str] | None = None) -> str:
    answer = project.coopery("list", "-f", reference, env=env)
    assert answer.exit_code == 3, answer.stdout + answer.stderr
    assert len(answer.slugs) == 1, answer.stderr
    bundles = project.home / "bundles"
    assert not [path for path in bundles.glob("*") if path.suffix != ".lock"]
    assert answer.slugs[0] in ("bundle-damaged", "bundle-version", "bundle-too-large",
                               "not-a-bundle", "registry-refused", "registry-missing")  # fmt: skip
    return answer.stderr


def test_a_good_one_is_taken(project: Project, speaker: Speaker) -> None:
    layer = tar(
        member("project/a/b.txt", b"x"), link("project/a/l", "b.txt"), link("project/m", "a/l")
    )
    reference = serve(speaker, layer)
    answer = project.coopery("list", "-f", reference)
    assert answer.exit_code == 0 and "linux" not in answer.stderr, answer.stderr
    count = len(speaker.asked)
    assert project.coopery("list", "-f", reference).exit_code == 0
    assert len(speaker.asked) == count  # by its digest it is known
    [folder] = (p for p in (project.home / "bundles").iterdir() if p.is_dir())
    (folder / "project/a/b.txt").chmod(0o644)
    (folder / "project/a/b.txt").write_bytes(b"y")
    assert project.coopery("list", "-f", reference).exit_code == 0
    assert (folder / "project/a/b.txt").read_bytes() == b"x"


@pytest.mark.parametrize(
    "layer",
    [
        tar(member("../x", b"x")),
        tar(member("project/../../x", b"x")),
        tar(member("/etc/x", b"x")),
        tar(member("other/x", b"x")),
        tar(member("recipe.bundle", b"x")),
        tar(member("x", b"x")),
        tar(link("project/l", "/etc")),
        tar(link("project/l", "../../..")),
        tar(link("project/l", "../..", tarfile.LNKTYPE)),
        tar(link("project/l", "/etc/passwd", tarfile.LNKTYPE)),
        tar(link("project/a", "."), link("project/b", "a/../../..")),
        tar(link("project/a", "/tmp"), member("project/a/x", b"x")),
        tar(member("project/a", b"x"), member("project/a/x", b"x")),
        tar(member("project/a", b"x"), member("project/a", b"y")),
        tar(member("project/d", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
        tar(member("project/d", type=tarfile.BLKTYPE)),
        tar(member("project/f", type=tarfile.FIFOTYPE)),
        tar(member("project/" + "n" * 300, b"x")),
        tar(member("project/" + "n/" * 2500 + "x", b"x")),
        tar(member("project/" + "n/" * 20_000 + "x", b"x")),
        b"no tar at all, but long enough to be read as one" * 20,
        tar(member("project/a", b"x" * 2000))[:1500],
        tar(member("project/x", b"x", pax_headers={"comment": "c" * 100_000})),
    ],
)
def test_layers_that_reach_out(project: Project, speaker: Speaker, layer: bytes) -> None:
    outside = sorted(p.name for p in project.root.parent.iterdir())
    told = refused(project, serve(speaker, layer))
    assert "bundle-damaged" in told
    assert {p.name for p in project.root.parent.iterdir()} - {*outside} <= {"home"}


def test_a_sparse_bomb(project: Project, speaker: Speaker) -> None:
    headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": "project/x",
               "GNU.sparse.size": str(1 << 50), "GNU.sparse.map": f"{1 << 50},0",
               "GNU.sparse.numblocks": "1"}  # fmt: skip
    layer = tar(member("project/x", b"", pax_headers=headers))
    assert "bundle-damaged" in refused(project, serve(speaker, layer))
    old = tar(member("project/x", b"", type=tarfile.GNUTYPE_SPARSE))
    assert "bundle-damaged" in refused(project, serve(speaker, old))


def test_what_is_too_large_is_not_fetched(project: Project, speaker: Speaker) -> None:
    layer = tar(member("project/x", b"x" * 3_000_000))
    reference = serve(speaker, layer)
    assert "3,0" in refused(project, reference, {"COOPERY_BUNDLE_LIMIT": "1"})
    by_flag = project.coopery("validate", "-f", reference, "--bundle-limit", "2")
    assert by_flag.slugs == ("bundle-too-large",)
    for words in (["cache", "info"], ["doctor"], ["init"]):
        ignoring = project.coopery(*words, "--bundle-limit", "2")
        assert ignoring.slugs == ("bad-command-line",), words
    assert not any(a.path.endswith(digest(layer)) for a in speaker.asked)

    def claim(manifest: Table) -> None:
        manifest["layers"][0]["size"] = 1 << 50

    assert "bundle-too-large" in refused(project, serve(speaker, layer, change=claim))


def test_bytes_that_are_not_those_of_their_digest(project: Project, speaker: Speaker) -> None:
    layer = tar(member("project/x", b"x"))
    other = tar(member("project/x", b"y"))
    assert "registry-refused" in refused(project, serve(speaker, layer, lies={layer: other}))


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        (lambda m: m.update(artifactType="application/x"), "not-a-bundle"),
        (lambda m: m["config"].update(mediaType="application/vnd.oci.image.config.v1+json"),
         "not-a-bundle"),
        (lambda m: m["config"].update(mediaType=ARTIFACT.replace("v1", "v2")), "bundle-version"),
        (lambda m: m["layers"][0].update(mediaType=f"{LAYER}+gzip"), "bundle-version"),
        (lambda m: m["layers"][0].update(size=-1), "bundle-damaged"),
        (lambda m: m["layers"][0].update(size="1"), "bundle-damaged"),
        (lambda m: m["layers"][0].update(digest="sha256:../../x"), "bundle-damaged"),
        (lambda m: m.update(layers=None), "bundle-damaged"),
        (lambda m: m.update(layers=m["layers"] * 20_000), "bundle-damaged"),
        (lambda m: m.pop("config"), "not-a-bundle"),
    ],
)  # fmt: skip
def test_manifests_of_other_kinds(
    project: Project, speaker: Speaker, change: Callable[[Table], object], slug: str
) -> None:
    assert slug in refused(project, serve(speaker, tar(), change=change))


@pytest.mark.parametrize(
    ("recipe", "slug"),
    [
        ({"version": 2, "recipe": {}}, "bundle-version"),
        ({"recipe": {}}, "bundle-damaged"),
        ([], "bundle-damaged"),
        ({"version": 1, "recipe": {"registries": []}}, "bundle-damaged"),
        ({"version": 1, "recipe": {"family": {}}}, "bundle-damaged"),
        ({"version": 1, "recipe": {"defaults": {"pass_env": ["SECRET"]}}}, "bundle-damaged"),
        ({"version": 1, "recipe": {"image": {"i": {"packages": ["x"]}}}}, "bundle-damaged"),
        ({"version": 1, "recipe": {"image": {"i": {"prebuilt": "x:1"}}}}, "bundle-damaged"),
        ({"version": 1, "recipe": {"image": {"i": {**IMAGE, "projects": ["/"]}}}},
         "bundle-damaged"),
    ],
)  # fmt: skip
def test_recipes_that_are_none(
    project: Project, speaker: Speaker, recipe: object, slug: str
) -> None:
    assert slug in refused(project, serve(speaker, tar(), recipe=recipe))


@pytest.mark.parametrize(
    "task",
    [
        {"command": ["touch", "/on-this-machine"]},
        {"image": None, "command": ["true"]},
        {"image": "j", "command": ["true"]},
        {"image": {"packages": ["x"]}, "command": ["true"]},  # it would be built
        {"image": {}, "command": ["true"]},
        {"image": ["i"], "command": ["true"]},
        ["true"],
        {"image": "i", "command": ["true"], "env": {"A": "\ud800"}},
        {"image": "i", "command": ["true"], "env": {"\udc80": "x"}},
        {"image": "i", "command": ["true\0"]},
        {"image": "i", "command": ["true"], "matrix": {"m": [float("inf")]}},
        {"image": "i", "command": ["true"], "params": {"m": float("nan")}},
        {"image": "i", "command": ["true"], "resources": {"cpu": 10**400}},
    ],
)
def test_tasks_that_no_recipe_could_hold(task: object) -> None:
    """Nothing is built for a bundle, and nothing of it runs on the machine itself."""
    tables = {"image": {"i": IMAGE}, "task": {"t": task}}
    raw = json.dumps({"version": 1, "recipe": tables}).encode()
    with pytest.raises(MachineError) as error:
        read_recipe(raw, "shown")
    assert error.value.problems[0].slug == "bundle-damaged"


@pytest.mark.parametrize("config", [b"{", b"[" * 100_000, b"\xff\xfe", b"null"])
def test_a_recipe_that_is_no_json(project: Project, speaker: Speaker, config: bytes) -> None:
    assert "bundle-damaged" in refused(project, serve(speaker, tar(), config=config))


@pytest.mark.parametrize(
    ("task", "slug"),
    [
        ({"inputs": {"x": "../../etc/passwd"}}, "outside-project"),
        ({"inputs": {"x": "/etc/passwd"}}, "outside-project"),
        ({"outputs": {"x": "../x"}}, "outside-project"),
        ({"outputs": {"x": "/etc/x"}}, "outside-project"),
        ({"nonsense": 1}, "unknown-key"),
    ],
)
def test_tasks_that_reach_out(project: Project, speaker: Speaker, task: Table, slug: str) -> None:
    tables = {"image": {"i": IMAGE}, "task": {"t": {**TASK, **task}}}
    recipe = {"version": 1, "recipe": {"defaults": {"runtime": "docker"}, **tables}}
    answer = project.coopery("list", "-f", serve(speaker, tar(), recipe=recipe))
    assert answer.exit_code == 2 and slug in answer.slugs, answer.stderr


def test_nothing_of_a_bundle_runs_on_the_machine_itself(
    project: Project, speaker: Speaker, tmp_path: Path
) -> None:
    """Whatever runtime it names: people look at it by `list`, and trust its images at most."""
    mark = tmp_path / "mark"
    tables = {"defaults": {"runtime": "local"}, "task": {"t": {"command": ["touch", str(mark)]}}}
    reference = serve(speaker, tar(), recipe={"version": 1, "recipe": tables})
    answer = project.coopery("run", "-f", reference)
    assert answer.exit_code == 3 and "names none of its images" in answer.told("bundle-damaged")
    assert not mark.exists()


def test_texts_steer_no_terminal(project: Project, speaker: Speaker) -> None:
    told = "\x1b]0;all is well\x07\x1b[2Jshown"
    tables = {"image": {"i": IMAGE}, "task": {"t": {**TASK, "description": told}}}
    recipe = {"version": 1, "recipe": {"defaults": {"runtime": "docker"}, **tables}}
    answer = project.coopery("list", "-f", serve(speaker, tar(), recipe=recipe))
    assert answer.exit_code == 0 and "\x1b" not in answer.stdout and "shown" in answer.stdout


def test_functions_whose_files_reach_out(project: Project, speaker: Speaker) -> None:
    (project.root.parent / "secret.pkl").write_bytes(b"x")
    pickled = {"shown": "f", "payload": "../../../secret.pkl", "library": "payload/l",
               "runner": "/etc/passwd"}  # fmt: skip
    tables = {"image": {"i": IMAGE}, "task": {"t": {"image": "i", "pickled": pickled}}}
    recipe = {"version": 1, "recipe": {"defaults": {"runtime": "docker"}, **tables}}
    answer = project.coopery("list", "-f", serve(speaker, tar(), recipe=recipe))
    assert answer.slugs == ("bundle-damaged",) * 3, answer.stderr


def test_what_is_not_there(project: Project, speaker: Speaker) -> None:
    told = refused(project, f"{speaker.host}/team/none:1")
    assert "registry-missing" in told and f"{speaker.host}/team/none:1" in told


def test_a_tag_moves(project: Project, speaker: Speaker) -> None:
    reference = serve(speaker, tar())
    by_digest = speaker.handler
    value = reference.rpartition("/")[2].rpartition("@")[2]

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        if asked.path.endswith("/manifests/1.0"):
            return by_digest(Asked("GET", f"/{value}", asked.headers, b""))
        return by_digest(asked)

    speaker.handler = answer
    told = project.coopery("list", "-f", f"{speaker.host}/team/x:1.0")
    assert told.exit_code == 0, told.stderr
    assert f"{speaker.host}/team/x@{value}" in told.stderr
    assert "may be another bundle tomorrow" in told.stderr


def test_a_file_of_that_name_wins(project: Project) -> None:
    folder = project.root / "localhost:1"
    folder.mkdir()
    (folder / "x:1").mkdir()
    (folder / "x:1/recipe.toml").write_text("[task.own]\ncommand = 'true'\n")
    answer = project.coopery("list", "-f", "localhost:1/x:1")
    assert answer.exit_code == 0 and "own" in answer.stdout, answer.stderr


def test_several_fetch_it_at_once(project: Project, speaker: Speaker) -> None:
    layer = tar(*(member(f"project/{n}.txt", b"x" * 1000) for n in range(300)))
    reference = serve(speaker, layer)
    started = [project.start("list", "-f", reference) for _ in range(4)]
    told = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, told
    assert len(list((project.home / "bundles").glob("[0-9a-f]*"))) == 2  # it, and its lock
    assert sum("fetch " in text for text in told) == 1


def test_home_is_the_only_place(project: Project, speaker: Speaker, tmp_path: Path) -> None:
    before = sorted(p.name for p in project.root.iterdir())
    assert project.coopery("list", "-f", serve(speaker, tar())).exit_code == 0
    assert sorted(p.name for p in project.root.iterdir()) == before
