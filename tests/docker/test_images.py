"""Images in a real engine: built part by part, found by key, never by chance."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from coopery.testing import Project, performed
from coopery_docker.images import hints
from coopery_docker.looking import find_gone
from coopery_docker.notes import HOME, KEY, home_id

RECIPE = """
[image.i]
sources = ["src"]

[task.a]
image = "i"
command = "cat src/a.txt > {outputs.o}"
outputs.o = "o"
"""


@pytest.fixture
def made(contained: Project) -> Project:
    """A project with an image that has sources."""
    contained.write("src/a.txt", "one\n")
    contained.write("recipe.toml", RECIPE)
    return contained


def images(engine: Any, project: Project) -> dict[str, dict[str, Any]]:
    """The images of a project's home, by their key."""
    label = f"{HOME}={home_id(project.home)}"
    found = engine.images(filters={"label": [label]})
    return {image["Labels"][KEY]: image for image in found if image["RepoTags"]}


@contextmanager
def counted() -> Iterator[tuple[str, list[str]]]:
    """Another address of the engine, and what is asked there: each request's first line."""
    asked: list[str] = []

    def pass_on(source: socket.socket, sink: socket.socket, notes: list[str]) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if data.split(b" ")[0] in (b"GET", b"HEAD", b"POST", b"DELETE"):
                    notes.append(data.partition(b"\r\n")[0].decode())
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                here, _ = server.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect("/var/run/docker.sock")
                for ends in ((here, there, asked), (there, here, [])):
                    threading.Thread(target=pass_on, args=ends, daemon=True).start()

    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{name}/s")
        server.listen()
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield f"unix://{name}/s", asked
        server.shutdown(socket.SHUT_RDWR)


def test_with_nothing_to_do_the_engine_is_asked_once_or_not_at_all(
    project: Project, sweep: Callable[[Path], None], engine: Any, tmp_path: Path
) -> None:
    made = project  # with a base that the lock remembers
    sweep(made.home)
    made.write("src/a.txt", "one\n")
    made.write("recipe.toml", RECIPE.replace("sources", 'python = "3.11"\nsources'))
    tag = made.run("-r", "docker")["image i"]["facts"]["image"]
    with counted() as (address, asked):
        env = {"DOCKER_HOST": address, "DOCKER_CONTEXT": ""}
        assert made.coopery("run", "-r", "docker", env=env).exit_code == 0
        assert asked == []
        built = made.coopery("build", "-r", "docker", "--json", env=env)
        assert built.exit_code == 0 and all(s["cached"] for s in built.json["steps"])
        assert asked == [f"GET /images/{tag}/json HTTP/1.0"]
        # Where a context says which engine is meant, the SDK finds it: with more questions.
        asked.clear()
        folder = tmp_path / "config/contexts/meta" / hashlib.sha256(b"far").hexdigest()
        folder.mkdir(parents=True)
        meta = {"Name": "far", "Metadata": {}, "Endpoints": {"docker": {"Host": address}}}
        (folder / "meta.json").write_text(json.dumps(meta))
        (tmp_path / "config/config.json").write_text('{"currentContext": "far"}')
        env = {"DOCKER_HOST": "", "DOCKER_CONTEXT": "", "DOCKER_CONFIG": str(tmp_path / "config")}
        built = made.coopery("build", "-r", "docker", "--json", env=env)
        assert built.exit_code == 0 and all(s["cached"] for s in built.json["steps"])
        assert any(f"/images/{tag}/json" in line for line in asked) and len(asked) > 1
        # And it is never taken for there when it is gone.
        engine.remove_image(tag, force=True)
        again = made.coopery("build", "-r", "docker", "--json")
        assert [s["step"] for s in again.json["steps"] if not s["cached"]] == ["image i"]


def test_an_edited_source_builds_that_part_alone(made: Project, engine: Any) -> None:
    first = made.run("-r", "docker")
    assert performed(first) == ["image i system", "image i sources", "image i", "a"]
    last = first["image i"]["facts"]
    config = engine.inspect_image(last["image"])["Config"]
    assert config["Labels"]["coopery.test"] == "handmade"
    assert last["id"] == engine.inspect_image(last["image"])["Id"] and last["size"] > 0
    made.write("src/a.txt", "two\n")
    second = made.run("-r", "docker")
    assert performed(second) == ["image i sources", "image i", "a"]
    assert made.read("o") == "two\n"
    assert second["image i sources"]["facts"]["context"] < 20480
    assert performed(made.run("-r", "docker")) == []


def test_the_table_of_a_part_tells_what_is_large(made: Project) -> None:
    made.write("src/large.bin", f"{time.time()}".ljust(3_000_000))  # in no builder's cache
    steps = made.run("-r", "docker")
    (copied,) = steps["image i sources"]["facts"]["layers"]
    assert copied["instruction"] == "COPY sources/ /" and not copied["cached"]
    assert 3_000_000 <= copied["size"] < 3_100_000 and copied["seconds"] >= 0
    ran = steps["image i system"]["facts"]["layers"]
    assert [row["instruction"][:4] for row in ran] == ["RUN ", "RUN ", "ENV "]


def test_an_image_that_was_removed_is_made_again(made: Project, engine: Any) -> None:
    first = made.run("-r", "docker")
    made.run("-r", "docker")
    for name in ("image i", "image i sources"):
        engine.remove_image(first[name]["facts"]["image"], force=True)
    again = made.run("-r", "docker", "--force")
    assert "a" in performed(again) and "image i" in performed(again)


@pytest.mark.parametrize("left", ["", "{}", "\0" * 20, '["tag", "id"]'])
def test_a_note_that_cannot_be_read_tells_of_no_image(tmp_path: Path, left: str) -> None:
    (tmp_path / "image.json").write_text(left)
    assert find_gone({"image i": tmp_path, "image j": tmp_path / "no"}) == ["image i", "image j"]


def test_an_image_whose_note_is_damaged_is_made_again(made: Project) -> None:
    key = made.run("-r", "docker")["image i"]["key"]
    note = made.home / "places" / key / "image.json"
    whole = note.read_text()
    note.write_text("")
    assert f"coopery:{key[:16]} is damaged" in made.coopery("doctor").stdout
    steps = made.run("-r", "docker", "--force")
    assert performed(steps) == ["image i", "a"]
    assert json.loads(note.read_text()).keys() == json.loads(whole).keys()


def test_an_engine_that_does_not_answer_is_not_an_image_that_is_missing(made: Project) -> None:
    made.run("-r", "docker")
    answer = made.coopery(
        "run", "-r", "docker", "--force", env={"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    )
    assert answer.exit_code == 3 and "no-engine" in answer.slugs, answer.stderr
    assert "-r local" in answer.stderr and "/nowhere/docker.sock (DOCKER_HOST)" in answer.stderr
    # No line of the recipe is to blame.
    assert not re.search(r"recipe\.toml:\d", answer.stderr), answer.stderr


def test_a_tag_that_means_another_image_is_not_taken(made: Project, engine: Any) -> None:
    tag = made.run("-r", "docker")["image i"]["facts"]["image"]
    engine.tag("python:3.11-slim", *tag.split(":"))
    made.write("src/a.txt", "one\n")
    again = made.run("-r", "docker", "--force")
    assert "image i" in performed(again)


def test_a_build_that_fails_shows_its_end(made: Project) -> None:
    env = {"HANDMADE_RUN": "echo to the builder; exit 7"}
    answer = made.coopery("run", "-r", "docker", "--json", env=env)
    assert answer.exit_code == 1, answer.stderr
    step = next(s for s in answer.json["steps"] if s["step"] == "image i system")
    (found,) = step["problems"]
    assert found["slug"] == "image-failed" and "to the builder" in found["message"]
    log = Path(step["log"]).read_text()
    assert "RUN " in log and "to the builder" in log and "7" in log


def test_two_processes_that_want_one_image_build_it_once(made: Project) -> None:
    """And N tasks of K images give K builds, several at a time."""
    made.write("more/b.txt", "two\n")
    declared = '[image.i0]\nsources = ["src"]\n[image.i1]\nsources = ["more"]\n'
    tasks = "".join(
        f'[task.t{n}]\nimage = "i{n % 2}"\ncommand = "echo {n} > {{outputs.o}}"\n'
        f'outputs.o = "o{n}"\n'
        for n in range(4)
    )
    made.write("recipe.toml", declared + tasks)
    targets = ([f"t{n}" for n in range(4)], ["t0", "t1"])
    started = [made.start("run", "-r", "docker", "-j", "4", "--json", *t) for t in targets]
    told = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    steps = [step for out, _ in told for step in json.loads(out)["steps"]]
    built = [s["key"] for s in steps if s["step"].startswith("image ") and not s["cached"]]
    # The two share their system packages; two parts on them differ.
    assert len(built) == len(set(built)) == 5


def test_force_builds_every_part_anew_and_equal_images_once(made: Project, engine: Any) -> None:
    """Without the builder's cache, so that system packages are fetched again; one build for each
    distinct part, and nothing of the former ones stays.
    """
    made.write("recipe.toml", RECIPE + '[image.same]\nsources = ["src"]\n')
    assert made.coopery("build", "-r", "docker").exit_code == 0
    before = {key: image["Id"] for key, image in images(engine, made).items()}
    answer = made.coopery("build", "-r", "docker", "--force", "-j", "4", "--json")
    assert answer.exit_code == 0, answer.stderr
    steps = [s for s in answer.json["steps"] if s["step"].startswith("image ")]
    built = [s for s in steps if not s["cached"]]
    assert len(steps) == 6 and len(built) == 3 == len({s["key"] for s in built})
    assert not any(row["cached"] for s in built for row in s["facts"]["layers"])
    after = {key: image["Id"] for key, image in images(engine, made).items()}
    assert before.keys() == after.keys()
    assert not {*before.values()} & {*after.values()}
    found = engine.images(filters={"label": [f"{HOME}={home_id(made.home)}"]})
    assert {image["Id"] for image in found} == {*after.values()}


@pytest.mark.parametrize("builder", ["buildkit", "classic"])
def test_what_apt_lacks_is_told_in_a_line_at_its_place(
    made: Project, request: pytest.FixtureRequest, builder: str
) -> None:
    """Once, whatever the command before it, and not cut."""
    if builder == "classic":
        request.getfixturevalue("classic")
    system = 'sources = ["src"]\nsystem = ["zlib1g", "nothing-like-it"]'
    made.write("recipe.toml", RECIPE.replace('sources = ["src"]', system))
    said = "E: Unable to locate package nothing-like-it"
    script = f"for i in 1 2 3 4; do echo before $i; done; echo {said} >&2; exit 100"
    answer = made.coopery("run", "-r", "docker", "--json", env={"HANDMADE_RUN": script})
    step = next(s for s in answer.json["steps"] if s["step"] == "image i system")
    (found,) = step["problems"]
    first, hint = found["message"].splitlines()
    told = f"the image 'i' could not be built (system): {said} (exit code 100) [image-failed]"
    assert first.endswith(f"recipe.toml:3 (image.i.system[1]): {told}")
    assert hint == "  hint: the base python:3.11-slim knows no such Debian package: check its name"
    log = Path(step["log"]).read_text().splitlines()
    assert said in log
    if builder == "buildkit":
        assert log[-1] == "ERROR: exit code 100"


def test_the_classic_builder_will_do(made: Project, classic: None) -> None:
    env = {"HANDMADE_RUN": f"mkdir -p /work; chmod 777 /work; echo {time.time()}"}
    first = made.run("-r", "docker", env=env)
    log = Path(first["image i system"]["log"]).read_text()
    assert "step 2/" in log.lower() and "--mount" not in log
    rows = first["image i system"]["facts"]["layers"]
    assert [row["cached"] for row in rows] == [False] * 3
    assert made.read("o") == "one\n"
    answer = made.coopery("run", "-r", "docker", env={"HANDMADE_RUN": "exit 7"})
    assert "[image-failed]" in answer.stderr


def test_large_sources_are_told() -> None:
    assert hints("sources", 99_000_000) == [] and hints("dependencies", 10**9) == []
    (told,) = hints("sources", 400 * 1024**2)
    assert "400 MiB" in told and "exclude" in told


def test_a_context_over_the_limit_is_told(contained: Project) -> None:
    contained.write("src/data", "x" * 10)
    contained.write(
        "recipe.toml", "[image.i]\nsources = ['src']\n[task.t]\nimage = 'i'\ncommand = 'true'\n"
    )
    contained.plugin(
        "limited",
        """
        from dataclasses import replace
        from coopery.hooks import hookimpl
        import handmade

        @hookimpl(tryfirst=True)
        def render_image(image, layers, base, home):
            found = handmade.render_image(image=image, layers=layers, base=base, home=home)
            return replace(found, context_limit=1000)
        """,
    )
    told = contained.coopery("run", "-r", "docker").stderr
    assert "warning: image i sources: " in told and "over the limit of 1000 B" in told
    # What is remembered sends nothing.
    assert "over the limit" not in contained.coopery("run", "-r", "docker", "--force").stderr


def test_a_base_that_moved_is_told(made: Project, engine: Any) -> None:
    """The lock holds what it was; it is not taken for what it is now."""
    name = f"coopery-test-{os.getpid()}"
    engine.tag("python:3.11-slim", name, "1")
    engine.import_image_from_data(_tar(), repository=f"{name}", tag="2", changes=["LABEL x=1"])
    made.plugin(
        "moved",
        """
        import os
        from coopery.hooks import hookimpl
        from coopery.dependencies import Lock

        @hookimpl(tryfirst=True)
        def resolve(sets, inspect):
            from dataclasses import replace
            bases = {s.image: replace(inspect(s.base), id="sha256:" + "0" * 64) for s in sets}
            return Lock(pins={s.image: () for s in sets}, bases=bases)
        """,
    )
    try:
        answer = made.coopery("run", "-r", "docker", env={"HANDMADE_BASE": f"{name}:1"})
        assert answer.exit_code == 1, answer.stderr
        assert "coopery lock --upgrade" in answer.told("base-moved")
        answer = made.coopery("run", "-r", "docker", env={"HANDMADE_BASE": f"{name}:no"})
        assert answer.exit_code == 3 and answer.slugs == ("base-missing",), answer.stderr
    finally:
        engine.remove_image(f"{name}:1")
        engine.remove_image(f"{name}:2")


def _tar() -> bytes:
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    return buffer.getvalue()


def test_what_a_base_holds_is_found_out(tmp_path: Path, engine: Any) -> None:
    """Python, C library and platform; there may be none of them, and no shell."""
    from coopery_docker.bases import inspect_base

    found = inspect_base("python:3.11-slim", tmp_path, print)
    assert (found.python or "").startswith("3.11.") and found.executable == "/usr/bin/python3"
    assert found.libc.startswith("glibc 2.") and found.platform.startswith("linux/")
    assert found.id.startswith("sha256:")
    name = f"coopery-test-empty-{os.getpid()}"
    engine.import_image_from_data(_tar(), repository=name, tag="1")
    try:
        empty = inspect_base(f"{name}:1", tmp_path, print)
        assert empty.python is None and empty.executable is None and empty.libc == ""
    finally:
        engine.remove_image(f"{name}:1")
    assert not list((tmp_path / "docker").iterdir())


def test_doctor_tells_of_images_that_nobody_knows(made: Project, engine: Any) -> None:
    made.run("-r", "docker")
    assert len(images(engine, made)) == 3
    assert "of no use" not in made.coopery("doctor").stdout
    shutil.rmtree(made.home / "places")
    (made.home / "places").mkdir()
    last = made.run("-r", "docker", "-n", "--json")["image i"]["key"]
    engine.tag(f"coopery:{last}", "coopery-test-doctor", "mine")
    try:
        assert "of no use any more" in made.coopery("doctor").stdout
        made.coopery("doctor", "--mend")
        left = engine.images(filters={"label": [f"{HOME}={home_id(made.home)}"]})
        assert [image["RepoTags"] for image in left] == [["coopery-test-doctor:mine"]]
    finally:
        engine.remove_image("coopery-test-doctor:mine")
    made.run("-r", "docker", "--force")


def test_a_build_ends_when_it_is_told_to(made: Project) -> None:
    env = {"HANDMADE_RUN": f"sleep 300; : {time.time()}"}
    process = made.start("run", "-r", "docker", env=env)
    deadline = time.monotonic() + 60
    while not any("sleep" in p.read_text() for p in made.home.rglob("logs/*.log")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130 and time.monotonic() - began < 30


def test_two_images_alike_are_built_once(made: Project) -> None:
    other = RECIPE.replace("image.i", "image.j").replace("task.a", "task.b")
    other = other.replace('"i"', '"j"').replace('"o"', '"p"')
    made.write("recipe.toml", RECIPE + other)
    steps = made.run("-r", "docker")
    built = [name for name in performed(steps) if name.startswith("image")]
    assert len(built) == 3, json.dumps(sorted(steps))


def builds(asked: list[str]) -> Counter[str]:
    """How often the engine was asked to build each image, by its name."""
    lines = [line.split(" ")[1] for line in asked if line.startswith("POST")]
    urls = [urlsplit(line) for line in lines]
    return Counter(parse_qs(url.query)["t"][0] for url in urls if url.path.endswith("/build"))


def test_each_image_is_built_once_for_all_its_tasks(contained: Project) -> None:
    """Nine tasks, side by side, of five images, of which three differ; a part is common to all."""
    text = ""
    for number in range(5):
        contained.write(f"src{number % 3}/a.txt", f"{number % 3}\n")
        text += f'[image.i{number}]\nsources = ["src{number % 3}"]\n'
    for number in range(9):
        text += f'[task.t{number}]\nimage = "i{number % 5}"\n'
        text += f'command = "cat src*/a.txt; : {number}"\n'
    contained.write("recipe.toml", text)
    with counted() as (address, asked):
        steps = contained.run("-r", "docker", "-j", "4", env={"DOCKER_HOST": address})
    for number in range(9):
        log = Path(steps[f"t{number}"]["log"])
        assert log.read_text() == f"{number % 5 % 3}\n"
    images = {n: s["facts"]["image"] for n, s in steps.items() if n.startswith("image ")}
    # Of each that differs its sources and its settings, and once what they are all built on.
    assert builds(asked) == dict.fromkeys(images.values(), 1) and len(builds(asked)) == 3 * 2 + 1
    by = [images[name] for name in performed(steps) if name in images]
    assert sorted(by) == sorted(set(images.values()))


def test_two_runs_at_once_build_an_image_once(made: Project) -> None:
    made.write("recipe.toml", RECIPE + '[task.b]\nimage = "i"\ncommand = "cat src/a.txt"\n')
    with counted() as (address, asked):
        env = {"DOCKER_HOST": address, "HANDMADE_RUN": f"mkdir -p /work; sleep 2; : {time.time()}"}
        runs = [made.start("run", "-r", "docker", "--json", name, env=env) for name in "ab"]
        told = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    steps = [{s["step"]: s for s in json.loads(out)["steps"]} for out, _ in told]
    parts = ["image i system", "image i sources", "image i"]
    by = sorted(name for one in steps for name in performed(one))
    assert by == sorted([*parts, "a", "b"])
    wanted = {one[name]["facts"]["image"] for one in steps for name in parts if name in one}
    assert builds(asked) == dict.fromkeys(wanted, 1) and len(wanted) == 3
