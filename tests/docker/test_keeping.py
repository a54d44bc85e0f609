"""Images that pile up: counted, kept within a budget, and told of as they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project, performed
from coopery_docker.notes import HOME, home_id

RECIPE = """
[image.i]
sources = ["src"]

[task.a]
image = "i"
params.wait = 0
command = "cat src/a.txt > {outputs.o}; sleep {params.wait}"
outputs.o = "o"
"""
ALL = ("--images-budget", "0", "--older-than", "0")
NOWHERE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
COUNTING = """
import coopery_docker.client as client

before = client.Engine.__init__


class Counting:
    def __init__(self, api):
        self._api = api

    def __getattr__(self, name):
        found = getattr(self._api, name)
        if not callable(found) or name.startswith("_"):
            return found

        def call(*arguments, **options):
            with open("asked.txt", "a") as file:
                print(name, *arguments, file=file)
            return found(*arguments, **options)

        return call


def counted(self, api, *arguments):
    before(self, Counting(api), *arguments)


client.Engine.__init__ = counted


import coopery_docker.looking as looking

plainly = looking._ask


def asking(path):
    with open("asked.txt", "a") as file:
        print(path.partition("?")[0], file=file)
    return plainly(path)


looking._ask = asking
"""
LOCKED = """
from coopery.hooks import hookimpl
from coopery.images import Base


@hookimpl(tryfirst=True)
def inspect_base(reference):
    return Base(reference=reference, id={id!r}, platform="linux/amd64", python="3.11.2")
"""
"""The base as a lock has it: the hand-made images have none."""


@pytest.fixture
def made(contained: Project, engine: Any) -> Project:
    """A project with an image that has sources, after its first run."""
    contained.plugin("locked", LOCKED.format(id=engine.inspect_image("python:3.11-slim")["Id"]))
    contained.write("src/a.txt", "one\n")
    contained.write("recipe.toml", RECIPE)
    contained.run("-r", "docker")
    return contained


def images(engine: Any, project: Project) -> dict[str, dict[str, Any]]:
    """The images of a project's home, by their names."""
    found = engine.images(filters={"label": [f"{HOME}={home_id(project.home)}"]})
    return {(image["RepoTags"] or [image["Id"]])[0]: image for image in found}


def outside(project: Project, *arguments: str, **more: Any) -> dict[str, Any]:
    answer = project.coopery("cache", *arguments, "--json", **more)
    assert answer.exit_code == 0, answer.stderr
    (found,) = answer.json["outside"]
    return dict(found)


def foretold_keys(project: Project) -> dict[str, str]:
    """What the image of each step is called."""
    answer = project.coopery("run", "-r", "docker", "-n", "--json")
    return {s["step"]: f"coopery:{s['key']}" for s in answer.json["steps"]}


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_images_are_counted_each_by_what_it_adds(made: Project, engine: Any) -> None:
    made.write("src/large.bin", f"{time.time()}".ljust(3_000_000))
    made.run("-r", "docker")
    found = outside(made, "info")
    assert (found["kind"], found["count"], found["evicted"]) == ("images", 5, 0)
    # Five images share their base, of hundreds of megabytes, and two share the part before.
    assert 3_000_000 < found["before"] < 4_000_000 and found["budget"] > 10**9
    assert found["newest_use"] >= found["oldest_use"] > time.time() - 600
    told = made.coopery("cache", "info").stdout
    assert "images (outside)" in told and "their budget is" in told


def test_over_the_budget_what_was_not_used_lately_goes(made: Project, engine: Any) -> None:
    """Never the base, nor a part that what stays is built upon."""
    made.write("src/large.bin", f"{time.time()}".ljust(3_000_000))
    made.run("-r", "docker")
    young = outside(made, "gc", "--images-budget", "0")
    assert (young["evicted"], len(images(engine, made))) == (0, 5) and young["young"] == 2
    would = outside(made, "gc", *ALL, "--dry-run")
    assert (would["evicted"], len(images(engine, made))) == (5, 5)
    made.write("src/large.bin", "")  # of the first state nobody has made any use since
    time.sleep(1.1)  # the order of uses is known to a second
    made.run("-r", "docker")
    keeping = outside(made, "gc", "--images-budget", "1Mi", "--older-than", "0")
    assert keeping["after"] <= 2**20 and keeping["evicted"] >= 2
    assert performed(made.run("-r", "docker")) == []
    last = made.coopery("cache", "gc", *ALL)
    assert "images: freed" in last.stdout and "they take 0 B" in last.stdout, last.stdout
    assert images(engine, made) == {}
    assert engine.inspect_image("python:3.11-slim")
    again = made.run("-r", "docker", "--force")
    assert performed(again) == ["image i system", "image i sources", "image i", "a"]
    assert again["image i"]["reason"]["text"] == "it is not on this machine"


def test_a_run_keeps_within_the_budget_by_itself(made: Project, engine: Any) -> None:
    """What it used itself stays."""
    before = set(images(engine, made))
    made.write("src/a.txt", "two\n")
    answer = made.coopery(
        "run", "-r", "docker", env={"COOPERY_IMAGES_BUDGET": "0", "COOPERY_CACHE_AGE": "0"}
    )
    assert answer.exit_code == 0 and "evicted 2 images" in answer.stderr, answer.stderr
    left = images(engine, made)
    assert len(left) == 3 and len(before & set(left)) == 1
    assert performed(made.run("-r", "docker")) == []


def test_what_a_living_run_uses_stays(made: Project, engine: Any) -> None:
    process = made.start("run", "-r", "docker", "--set", "a.wait=60")
    try:
        label = {"label": [f"{HOME}={home_id(made.home)}"]}
        until(lambda: engine.containers(filters=label))
        found = outside(made, "gc", *ALL)
        assert found["evicted"] == 0 and found["in_use"] == 1
        assert len(images(engine, made)) == 3
    finally:
        process.terminate()
        process.wait()


def test_leftovers_go_and_what_people_named_stays(made: Project, engine: Any) -> None:
    """An image that lost its name to another of the same key; one whose note is gone; and two of
    somebody who built upon ours, or gave one of ours a name.
    """
    before = images(engine, made)
    tag = foretold_keys(made)["image i"]
    last = before[tag]
    where = {"repository": f"coopery-test-{made.home.parent.name[-20:].lower()}"}
    from_ours = engine.create_container(tag, "true")
    unnamed = engine.commit(from_ours["Id"], conf={"Labels": dict(last["Labels"])})["Id"]
    named = engine.commit(from_ours["Id"], tag="theirs", **where)["Id"]
    engine.remove_container(from_ours["Id"])
    try:
        assert outside(made, "gc")["evicted"] == 1
        ids = {image["Id"] for image in images(engine, made).values()}
        assert named in ids and unnamed not in ids and len(ids) == 4
        assert performed(made.run("-r", "docker", "--force")) == ["a"]
        outside(made, "gc", *ALL)
        assert named in {image["Id"] for image in images(engine, made).values()}
    finally:
        engine.remove_image(named, force=True)


def test_an_engine_that_does_not_answer_is_told_in_a_line(made: Project) -> None:
    before = sorted(p.name for p in (made.home / "places").iterdir())
    answer = made.coopery("cache", "gc", "--budget", "0", *ALL, env=NOWHERE)
    assert answer.exit_code == 0
    (line,) = (line for line in answer.stdout.splitlines() if "images" in line)
    assert line.startswith("images: nobody could look at them: no container engine answers")
    after = sorted(p.name for p in (made.home / "places").iterdir())
    assert [name for name in after if len(name) == 64] == [n for n in before if len(n) == 64]
    assert outside(made, "info", env=NOWHERE)["count"] == 3


def test_without_images_no_engine_is_asked(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    project.run()
    assert project.coopery("cache", "gc", "--json", env=NOWHERE).json["outside"] == []


def test_a_bad_budget_is_told(project: Project) -> None:
    for answer in (
        project.coopery("cache", "info", "--images-budget", "lots"),
        project.coopery("cache", "gc", env={"COOPERY_IMAGES_BUDGET": "lots"}),
    ):
        assert (answer.exit_code, answer.slugs) == (2, ("bad-option",))
        assert "images-budget 'lots'" in answer.stderr


# -- what is foretold -----------------------------------------------------------------------------


def foretold(project: Project, *arguments: str, **more: Any) -> dict[str, tuple[str, str]]:
    answer = project.coopery("run", "-r", "docker", "-n", "--json", *arguments, **more)
    assert answer.exit_code == 0, answer.stderr
    return {s["step"]: (s["forecast"], s["reason"]) for s in answer.json["steps"]}


def asked(project: Project) -> list[str]:
    file = project.root / "asked.txt"
    found = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return found


def test_a_dry_run_sees_that_an_image_was_removed(made: Project, engine: Any) -> None:
    made.plugin("counting", COUNTING)
    for tag in images(engine, made):
        engine.remove_image(tag, force=True)
    # A run would not look for an image that nobody reads, and so does not miss it.
    assert {verdict for verdict, _ in foretold(made).values()} == {"cached"}
    assert asked(made) == []
    found = foretold(made, "--force")
    gone = ("run", "the image is gone from the container engine and a reader needs it")
    parts = ("image i system", "image i sources", "image i")
    assert [found[part] for part in parts] == [gone] * 3
    assert asked(made) == ["/images/json"], "once for all of them"
    ended = made.coopery("run", "-r", "docker", "--force", "--json")
    steps = {step["step"]: step for step in ended.json["steps"]}
    assert [name for name, step in steps.items() if not step["cached"]] == [*parts, "a"]
    assert [steps[part]["reason"]["text"] for part in parts] == [gone[1]] * 3
    assert "4 done in" in ended.stderr, ended.stderr
    assert foretold(made, "--force")["image i"][0] == "cached"


def test_a_build_is_foretold_too(made: Project, engine: Any) -> None:
    cached = made.coopery("why", "-r", "docker", "i")
    assert cached.exit_code == 0 and "image i: cached" in cached.stdout
    last = made.run("-r", "docker")["image i"]["facts"]["image"]
    engine.remove_image(last, force=True)
    told = made.coopery("why", "-r", "docker", "i").stdout
    assert told == "image i: run\n  the image is gone from the container engine\n"
    built = made.coopery("build", "-r", "docker", "--json")
    steps = {step["step"]: step for step in built.json["steps"]}
    assert [name for name, step in steps.items() if not step["cached"]] == ["image i"]
    assert steps["image i"]["reason"]["text"] == "the image is gone from the container engine"


def test_what_cannot_be_looked_at_is_not_taken_for_gone(made: Project) -> None:
    verdict, reason = foretold(made, "--force", env=NOWHERE)["image i"]
    assert verdict == "cached" and "no container engine answers at unix:///nowhere" in reason
    why = made.coopery("why", "-r", "docker", "i", env=NOWHERE)
    assert why.exit_code == 0 and "image i: cached" in why.stdout
    unseen = "nobody could look whether image i is still there: no container engine answers"
    assert f"\n  {unseen} at unix:///nowhere" in why.stdout
    # What reads it will need it; what is cached itself does not.
    words = ("why", "-r", "docker", "--json", "a")
    (reader,) = made.coopery(*words, "--set", "a.wait=1", env=NOWHERE).json["targets"]
    assert reader["verdict"] == "run" and reader["unseen"].startswith(unseen)
    (cached,) = made.coopery(*words, env=NOWHERE).json["targets"]
    assert cached["verdict"] == "cached" and cached["unseen"] is None


def test_the_home_is_not_needed_to_be_the_default(made: Project, tmp_path: Path) -> None:
    """Images of another home are no concern of this one."""
    other = {"COOPERY_HOME": str(tmp_path / "other")}
    assert made.coopery("cache", "gc", *ALL, "--json", env=other).json["outside"] == []
    assert outside(made, "info")["count"] == 3
