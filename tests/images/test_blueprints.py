"""Which changes change an image, and which do not; what its labels say."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from coopery.dependencies import Layer, Lock, Stage
from coopery.digests import digest
from coopery.images import Base, Blueprint, ImageBuild, plan_builds
from coopery.steps import Need, Step, StepSource
from coopery_system import System, SystemPackage, add_layers
from coopery_wheels.work import WheelRelease

from .conftest import Bench


def essence(blueprint: Blueprint) -> str:
    """What enters the keys of an image's steps, save the bytes of its needs."""
    steps = (*blueprint.steps, *plan_builds(blueprint, "docker"))
    return digest([[s.work, [[n.role, n.name] for n in s.needs], list(s.outputs)] for s in steps])


def test_the_order_of_declarations_does_not_matter(
    bench: Bench, wheel: Callable[..., Path], own_wheel: Callable[..., Path]
) -> None:
    (bench.root / "a.txt").write_text("a")
    (bench.root / "b.txt").write_text("b")
    wheels = [own_wheel("beta"), own_wheel("gamma")]
    pins = [wheel("alpha"), wheel("delta")]
    first = bench.blueprint(
        bench.packages(*pins), bench.own(*wheels), bench.sources("a.txt", "b.txt"),
        recipe=bench.recipe(env={"A": "1", "B": "2"}),
    )  # fmt: skip
    second = bench.blueprint(
        bench.packages(*reversed(pins)), bench.own(*reversed(wheels)),
        bench.sources("b.txt", "a.txt"), recipe=bench.recipe(env={"B": "2", "A": "1"}),
    )  # fmt: skip
    assert essence(first) == essence(second)


def test_what_matters_changes_the_image(
    bench: Bench, wheel: Callable[..., Path], own_wheel: Callable[..., Path]
) -> None:
    (bench.root / "a.txt").write_text("a")
    alpha, beta = wheel("alpha"), own_wheel("beta")
    packages, own, sources = bench.packages(alpha), bench.own(beta), bench.sources("a.txt")
    first = essence(bench.blueprint(packages, own, sources))
    assert essence(bench.blueprint(packages, own, sources)) == first
    newer = bench.packages(wheel("alpha", "1.1"))
    other = [replace(packages, pins=(replace(packages.pins[0], hashes=("sha256:00",)),)), newer]
    for layer in other:
        assert essence(bench.blueprint(layer, own, sources)) != first
    assert essence(bench.blueprint(packages, own)) != first
    assert essence(bench.blueprint(packages, sources)) != first
    assert essence(bench.blueprint(packages, own, replace(sources, system=("zlib1g",)))) != first
    assert essence(bench.blueprint(packages, own, replace(sources, assumed=("zlib1g",)))) != first
    env = bench.recipe(env={"A": "1"})
    assert essence(bench.blueprint(packages, own, sources, recipe=env)) != first
    for base in (
        replace(bench.base, digest="sha256:" + "2" * 64),
        replace(bench.base, executable="/usr/local/bin/python3"),
        replace(bench.base, libc="glibc 2.31"),
    ):
        bench.base = base
        assert essence(bench.blueprint(packages, own, sources)) != first


def test_what_does_not_matter_changes_nothing(
    bench: Bench, wheel: Callable[..., Path], tmp_path: Path
) -> None:
    packages = bench.packages(wheel("alpha"))
    first = essence(bench.blueprint(packages))
    told = bench.recipe(description="another")
    assert essence(bench.blueprint(packages, recipe=told)) == first
    subprocess.run(["git", "init", "-q", bench.root], check=True)
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]
    subprocess.run([*command, "--allow-empty"], cwd=bench.root, check=True)
    blueprint = bench.blueprint(packages)
    assert essence(blueprint) == first
    assert blueprint.labels["coopery.dirty"] == "false"
    elsewhere = tmp_path / "elsewhere"
    bench.root.rename(elsewhere)
    bench.root = elsewhere
    assert essence(bench.blueprint(packages)) == first


def test_labels_tell_where_an_image_comes_from(
    bench: Bench, wheel: Callable[..., Path], own_wheel: Callable[..., Path]
) -> None:
    bench.base = replace(bench.base, digest="sha256:" + "2" * 64)
    subprocess.run(["git", "init", "-q", bench.root], check=True)
    url = "https://user:secret@host.example/team/project.git?token=x"
    subprocess.run(["git", "remote", "add", "origin", url], cwd=bench.root, check=True)
    subprocess.run(["git", "add", "."], cwd=bench.root, check=True)
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]
    subprocess.run(command, cwd=bench.root, check=True)
    (bench.root / "recipe.toml").write_text("# edited\n")
    recipe = bench.recipe(description="For science.\n\nTwo $paragraphs\x07.")
    layers = (bench.packages(wheel("alpha")), bench.own(own_wheel("beta")))
    labels = dict(bench.blueprint(*layers, recipe=recipe).labels)
    commit = labels.pop("coopery.commit")
    assert len(commit) == 40
    lock = labels.pop("coopery.lock")
    assert lock.startswith("sha256:")
    assert labels.pop("coopery.version")
    assert labels == {
        "coopery.dirty": "true",
        "coopery.image": "science",
        "coopery.wheels": "beta",
        "org.opencontainers.image.base.digest": "sha256:" + "2" * 64,
        "org.opencontainers.image.base.name": "python:3.11-slim",
        "org.opencontainers.image.description": "For science. Two $paragraphs.",
        "org.opencontainers.image.revision": commit,
        "org.opencontainers.image.source": "https://host.example/team/project.git",
        "org.opencontainers.image.title": "science",
    }
    other = bench.blueprint(bench.packages(wheel("alpha", "1.1")))
    assert other.labels["coopery.lock"] != lock


def test_a_base_is_pinned_by_its_digest(base: Base) -> None:
    digest_ = "sha256:" + "2" * 64
    found = {
        "python": f"python@{digest_}",
        "python:3.11": f"python@{digest_}",
        "host:5000/python": f"host:5000/python@{digest_}",
        "host:5000/python:3": f"host:5000/python@{digest_}",
        f"python:3@{digest_}": f"python@{digest_}",
    }
    for reference, pinned in found.items():
        assert replace(base, reference=reference, digest=digest_).pinned == pinned


def test_sources_may_be_the_working_folder_itself(bench: Bench) -> None:
    (bench.root / "a.txt").write_text("a")
    blueprint = bench.blueprint(bench.sources("."))
    assert blueprint.parts[-1].copies[0].path == "sources/work"


def test_a_path_of_ones_own_comes_after_the_environments(bench: Bench) -> None:
    def settings(**env: str) -> list[str]:
        found = bench.blueprint(recipe=bench.recipe(env=env)).parts[-1].instructions
        return [line for x in found if "PATH" in (line := x.line(buildkit=False))]

    assert settings() == ['ENV PATH="/opt/coopery/env/bin:$PATH"']
    (line,) = settings(PATH="/tools:$PATH:/usr/bin")
    assert "/opt/coopery/env/bin:/tools:" in line and line.count("/opt/coopery/env/bin") == 1
    assert "\\$PATH" in line or "'" in line
    bench.base = replace(bench.base, python=None, executable=None)
    assert "/opt/coopery" not in settings(PATH="/tools")[0]


def test_labels_tell_the_version_of_a_released_wheel(bench: Bench) -> None:
    work = WheelRelease(package=(("beta", "2.0"),), hashes=(), python="3.11", platform="any")
    step = Step(name="wheel beta (release)", subject="beta", work=work, outputs=("wheel",))
    need = Need(role="wheel beta", source=StepSource(step=step.name, output="wheel"), name="beta")
    layer = Layer(name="wheels", stage=Stage.WHEELS, wheels=(need,), steps=(step,))
    labels = bench.blueprint(layer).labels
    assert labels["coopery.wheels"] == "beta==2.0"
    assert labels["org.opencontainers.image.version"] == "2.0"


def test_a_build_knows_where_its_system_packages_are_named(bench: Bench) -> None:
    """For the error in which apt names one."""
    packages = (SystemPackage(name="zlib1g"), SystemPackage(name="libgomp1", local="assume"))
    recipe = bench.recipe(System(packages=packages))
    layers = tuple(add_layers(recipe, recipe.images["science"], Lock()))
    work = plan_builds(bench.blueprint(*layers, recipe=recipe), "docker")[0].work
    assert isinstance(work, ImageBuild)
    assert work.named == {
        "zlib1g": ("image", "science", "system", 0),
        "libgomp1": ("image", "science", "system", 1),
    }
