"""What a rendered image is in a real engine, on the classic builder and on BuildKit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coopery_images.dockerfile import dockerfile_of

from .conftest import Bench, Engine

both = pytest.mark.parametrize("buildkit", [False, True], ids=["classic", "buildkit"])


@both
def test_packages_wheels_and_sources_work_in_the_image(
    bench: Bench,
    engine: Engine,
    wheel: Callable[..., Path],
    own_wheel: Callable[..., Path],
    buildkit: bool,
) -> None:
    (bench.root / "src" / "deep").mkdir(parents=True)
    (bench.root / "src" / "deep" / "data.txt").write_text("hello")
    (bench.root / "run me.sh").write_text("#!/bin/sh\necho ran\n")
    (bench.root / "run me.sh").chmod(0o700)
    (bench.root / "other" / "place").mkdir(parents=True)
    (bench.root / "other" / "place" / "one.txt").write_text("one")
    blueprint = bench.blueprint(
        bench.packages(wheel("alpha", scripts=["alpha"])),
        bench.own(own_wheel("beta", "2.0", scripts=["beta"])),
        bench.sources("src", "run me.sh", "other/place/one.txt"),
        recipe=bench.recipe(env={"GREETING": 'a "b" $HOME \\ #c'}),
    )
    bench.make(blueprint)
    context = list(bench.entries(blueprint))
    image = engine.build(dockerfile_of(blueprint), context, buildkit=buildkit)

    assert engine.run(image, "alpha") == "alpha 1.0\n"
    assert engine.run(image, "beta") == "beta 2.0\n"
    assert engine.run(image, "python", "-c", "import sys; print(sys.prefix, sys.version[:4])") == (
        "/opt/coopery/env 3.11\n"
    )
    assert engine.run(image, "./run me.sh") == "ran\n"
    assert engine.run(image, "cat", "src/deep/data.txt") == "hello"
    assert engine.run(image, "id", "-u") == "1000\n"
    # Whoever a task runs as may write into the working folder, and nowhere into the packages.
    script = (
        "touch new src/new src/deep/new other/new other/place/new; echo x >> src/deep/data.txt; "
        "echo x >> other/place/one.txt; pwd; ls -ld / /opt"
    )
    told = engine.run(image, "sh", "-ec", script, user="4321:4321").splitlines()
    assert told[0] == "/work"
    assert all(line.startswith("drwxr-xr-x") for line in told[1:])
    refused = "touch /opt/coopery/env/lib/x 2>/dev/null || echo refused"
    assert engine.run(image, "sh", "-c", refused) == "refused\n"
    # Byte code is there already, and is taken without a look at its source.
    for name in ("alpha", "beta"):
        opened = f"import {name} as m; f = open(m.__cached__, 'rb')"
        assert engine.run(image, "python", "-c", f"{opened}; print(f.read(8)[4])") == "1\n"

    config = engine.config(image)
    assert 'GREETING=a "b" $HOME \\ #c' in config["Env"]
    assert config["User"] == "1000:1000"
    assert config["WorkingDir"] == "/work"
    assert config["Env"][0].startswith("PATH=/opt/coopery/env/bin:/usr")
    labels = config["Labels"]
    assert labels["coopery.image"] == "science"
    assert labels["coopery.wheels"] == "beta"
    assert labels["org.opencontainers.image.base.name"] == "python:3.11-slim"


def test_parts_are_built_each_on_the_one_before(
    bench: Bench, engine: Engine, wheel: Callable[..., Path]
) -> None:
    """As a runtime does it: a part has a context of its own."""
    (bench.root / "a.py").write_text("print('first')\n")
    blueprint = bench.blueprint(bench.packages(wheel("alpha")), bench.sources("a.py"))
    bench.make(blueprint)
    image = blueprint.base.pinned
    for part in blueprint.parts:
        lines = [f"FROM {image}", *(i.line(buildkit=False) for i in part.instructions)]
        context = list(bench.entries(blueprint, part.name))
        image = engine.build("\n".join(lines), context, buildkit=False)
    assert engine.run(image, "python", "a.py") == "first\n"


def test_an_image_without_python_runs_what_needs_none(bench: Bench, engine: Engine) -> None:
    bench.base = replace(bench.base, python=None, executable=None)
    (bench.root / "a.txt").write_text("hello")
    blueprint = bench.blueprint(bench.sources("a.txt"))
    bench.make(blueprint)
    image = engine.build(dockerfile_of(blueprint), list(bench.entries(blueprint)), buildkit=False)
    assert engine.run(image, "cat", "a.txt") == "hello"
    assert engine.run(image, "sh", "-c", "ls /opt; touch b; ls", user="7:7") == "a.txt\nb\n"


@both
def test_a_changed_file_of_an_own_wheel_fails_the_build(
    bench: Bench, engine: Engine, own_wheel: Callable[..., Path], buildkit: bool
) -> None:
    blueprint = bench.blueprint(bench.own(own_wheel("beta")))
    bench.make(blueprint)
    tree = bench.made["own packages science"]
    (tree / "env/lib/python3.11/site-packages/beta.py").write_text("tampered\n")
    with pytest.raises(AssertionError) as caught:
        engine.build(dockerfile_of(blueprint), list(bench.entries(blueprint)), buildkit=buildkit)
    assert "beta.py is not the file that its wheel recorded" in str(caught.value)
