"""What is killed while it fetches or publishes, or taken away: the next call goes well."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from coopery.secrets import no_secrets
from coopery.testing import Project
from coopery_publish.fetching import as_reference, fetch

from .conftest import Asked, Handler, Speaker
from .test_hostile import digest, member, serve, tar

Answer = tuple[int, dict[str, str], bytes]


class Shelf:
    """A registry in memory, which refuses manifests that name what it does not have."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}

    def __call__(self, asked: Asked) -> Answer:
        parts = urlsplit(asked.path)
        kind, name = parts.path.split("/")[-2:]
        match asked.method, kind:
            case "POST", _:
                ident = str(len(self.uploads))
                self.uploads[ident] = b""
                return 202, {"Location": f"/v2/team/x/blobs/uploads/{ident}"}, b""
            case "PATCH", _:
                self.uploads[name] += asked.body
                return 202, {"Location": parts.path}, b""
            case "PUT", "uploads":
                content = self.uploads[name] + asked.body
                assert digest(content) == parse_qs(parts.query)["digest"][0]
                self.blobs[digest(content)] = content
                return 201, {}, b""
            case "PUT", "manifests":
                found = json.loads(asked.body)
                known = [d["digest"] in self.blobs for d in (found["config"], *found["layers"])]
                if not all(known):
                    return 400, {}, b""
                self.manifests[name] = self.manifests[digest(asked.body)] = asked.body
                return 201, {}, b""
        content = (self.manifests if kind == "manifests" else self.blobs).get(name, b"")
        return (200, {}, content) if content else (404, {}, b"")


def breaking(handler: Handler, at: str, reached: threading.Event) -> Handler:
    """As the handler, which from the first request of this method and kind on breaks off."""

    def answer(asked: Asked) -> Answer:
        if f"{asked.method} {asked.path.split('/')[-2]}" == at:
            reached.set()
        return (0, {}, b"") if reached.is_set() else handler(asked)

    return answer


def left(project: Project) -> list[str]:
    """The folders of bundles in the home, whole or not."""
    return [path.name for path in (project.home / "bundles").iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("at", "number"),
    [
        ("HEAD blobs", signal.SIGKILL),
        ("POST uploads", signal.SIGKILL),
        ("PATCH uploads", signal.SIGKILL),
        ("PUT uploads", signal.SIGINT),
        ("PUT manifests", signal.SIGKILL),
    ],
)
def test_a_publish_that_is_killed_leaves_nothing_half_done(
    bundled: Project, speaker: Speaker, at: str, number: signal.Signals
) -> None:
    (bundled.root / "data/big.bin").write_bytes(os.urandom(1 << 20) * 18)
    recipe = bundled.read("recipe.toml") + 'inputs.big = "data/big.bin"\n'
    bundled.write("recipe.toml", recipe)
    shelf, reached = Shelf(), threading.Event()
    speaker.handler = breaking(shelf, at, reached)
    arguments = ("publish", "--to", f"{speaker.host}/team/x")
    process = bundled.start(*arguments)
    assert reached.wait(30)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert not shelf.manifests
    if number == signal.SIGINT:
        assert not left(bundled)
    speaker.handler = shelf
    again = bundled.coopery(*arguments)
    assert again.exit_code == 0, again.stderr
    assert again.stdout.strip().rpartition("@")[2] in shelf.manifests
    assert not left(bundled)


def bundle_of(speaker: Speaker) -> str:
    return serve(speaker, tar(member("project/a.txt", b"x" * 100_000)))


def test_a_fetch_that_is_killed_is_begun_anew(project: Project, speaker: Speaker) -> None:
    reference = bundle_of(speaker)
    handler, reached = speaker.handler, threading.Event()

    def answer(asked: Asked) -> Answer:
        found = handler(asked)
        if len(found[2]) > 50_000 and not reached.is_set():
            reached.set()
            threading.Event().wait(5)
        return found

    speaker.handler = answer
    process = project.start("list", "-f", reference)
    assert reached.wait(30)
    process.kill()
    process.communicate()
    assert len(left(project)) == 1
    again = project.coopery("list", "-f", reference)
    assert again.exit_code == 0, again.stderr
    [name] = left(project)
    assert (project.home / "bundles" / name / "project/a.txt").stat().st_size == 100_000
    assert stat.S_IMODE(project.home.stat().st_mode) == 0o700


def test_a_process_that_uses_a_bundle_may_fetch_it_anew(project: Project, speaker: Speaker) -> None:
    """Where it was changed meanwhile: it waits for others, which is told, and not for itself."""
    text = bundle_of(speaker)
    reference = as_reference(text)
    assert reference is not None
    told: list[str] = []

    def fetch_it() -> Path:
        return fetch(reference, project.home, 1 << 30, told.append, no_secrets())

    file = fetch_it().parent / "project/a.txt"
    assert fetch_it().parent == file.parents[1]
    file.unlink()
    other = os.open(f"{file.parents[1]}.lock", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_SH)
    threading.Timer(0.3, os.close, (other,)).start()
    fetch_it()
    assert file.stat().st_size == 100_000
    assert [line.split()[0] for line in told] == ["fetch", "wait", "fetch"]


def test_the_cache_counts_bundles_and_takes_away_those_nobody_uses(
    project: Project, speaker: Speaker
) -> None:
    reference = bundle_of(speaker)
    assert project.coopery("list", "-f", reference).exit_code == 0
    info = project.coopery("cache", "info", "--json").json
    assert info["kinds"]["bundle"]["count"] == 1
    assert info["kinds"]["bundle"]["size"] > 100_000
    everything = ("cache", "gc", "--budget", "0", "--older-than", "0", "--json")

    hook = """
        import time
        from pathlib import Path
        from coopery.hooks import hookimpl

        @hookimpl
        def check(recipe, runtime):
            Path("reached").touch()
            while not Path("go").exists():
                time.sleep(0.02)
            return ()
        """
    project.plugin("waiting", hook)
    process = project.start("list", "-f", reference)
    deadline = time.monotonic() + 30
    while not (project.root / "reached").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    used = project.coopery(*everything).json
    assert left(project) and used["in_use"] == 1
    (project.root / "go").touch()
    assert process.wait(30) == 0
    assert project.coopery(*everything).json["evicted"] == {"bundle": 1}
    assert not left(project)
    again = project.coopery("list", "-f", reference)
    assert again.exit_code == 0 and "fetch " in again.stderr, again.stderr
