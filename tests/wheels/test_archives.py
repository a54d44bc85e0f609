"""Wheel files that a recipe names are checked, verified and repacked."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from coopery.errors import StepError
from coopery_images.nouns import BaseChoice
from coopery_wheels.archives import repack

from .conftest import Bench, make_wheel


def test_a_good_wheel_passes_and_keeps_its_name(bench: Bench) -> None:
    make_wheel(bench.root / "dist")
    recipe = bench.recipe(wheels=("dist/tiny-1.0-py3-none-any.whl",))
    assert bench.slugs(recipe) == []
    (step,) = bench.steps(recipe)
    made, wheel = bench.perform(step)
    assert wheel.name == "tiny-1.0-py3-none-any.whl"
    assert made.facts["version"] == "1.0"


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    files = {"tiny.py": b"1", "a/b.py": b"2"}
    one = make_wheel(tmp_path / "one", files=files)
    other = make_wheel(
        tmp_path / "two",
        files=dict(reversed(files.items())),
        record=lambda lines: list(reversed(lines)),
    )
    assert one.read_bytes() != other.read_bytes()
    packed = repack(one, tmp_path / "p1").read_bytes()
    assert packed == repack(other, tmp_path / "p2").read_bytes()
    again = tmp_path / "p1" / one.name
    assert repack(again, tmp_path / "p3").read_bytes() == packed


@pytest.mark.parametrize(
    ("filename", "options", "slug"),
    [
        ("tiny-1.0.whl", {}, "wheel-name"),
        ("tiny-1.0-cp27-cp27m-win32.whl", {}, "wheel-tags"),
        ("tiny-2.0-py3-none-any.whl", {}, "wheel-mismatch"),
        ("other-1.0-py3-none-any.whl", {}, "wheel-mismatch"),
        ("tiny-1.0-py3-none-any.whl", {"files": {"../evil.py": b""}}, "unsafe-wheel"),
        ("tiny-1.0-py3-none-any.whl", {"files": {"/evil.py": b""}}, "unsafe-wheel"),
        ("tiny-1.0-py3-none-any.whl", {"files": {"a\\b.py": b""}}, "unsafe-wheel"),
        ("tiny-1.0-py3-none-any.whl", {"record": lambda lines: lines[1:]}, "wheel-record"),
        ("tiny-1.0-py3-none-any.whl", {"record": lambda ls: [*ls, "gone.py,,"]}, "wheel-record"),
    ],
)
def test_bad_wheels_are_refused(
    bench: Bench, filename: str, options: dict[str, object], slug: str
) -> None:
    path = make_wheel(bench.root, filename, **options)  # type: ignore[arg-type]
    assert bench.slugs(bench.recipe(wheels=(filename,))) == [slug]
    if slug != "wheel-tags":
        with pytest.raises(StepError) as caught:
            repack(path, bench.home / "out")
        assert caught.value.problems[0].slug == slug


def test_a_wheel_for_another_linux_is_for_images_with_a_base(bench: Bench) -> None:
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    other = f"tiny-1.0-{python}-{python}-musllinux_1_2_riscv64.whl"
    windows = f"tiny-1.0-{python}-{python}-win_amd64.whl"
    old = "tiny-1.0-cp27-cp27m-musllinux_1_2_x86_64.whl"
    for name, based in ((other, []), (windows, ["wheel-tags"]), (old, ["wheel-tags"])):
        make_wheel(bench.root, name)
        recipe = bench.recipe(wheels=(name,))
        assert bench.slugs(recipe) == ["wheel-tags"]
        image = recipe.images["a"]
        facets = (*image.facets, BaseChoice(reference="python:3.11-alpine"))
        recipe = replace(recipe, images={"a": replace(image, facets=facets)})
        assert bench.slugs(recipe) == based, name


def test_a_link_in_a_wheel_is_refused(bench: Bench) -> None:
    path = make_wheel(bench.root)
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("link.py")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    assert "unsafe-wheel" in bench.slugs(bench.recipe(wheels=(path.name,)))


@pytest.mark.parametrize("algorithm", ["", "md5=x", "sha256=AAAA"])
def test_hashes_are_verified_when_the_wheel_is_taken(bench: Bench, algorithm: str) -> None:
    path = make_wheel(bench.root, record=lambda lines: [f"tiny.py,{algorithm},6", *lines[1:]])
    (step,) = bench.steps(bench.recipe(wheels=(path.name,)))
    with pytest.raises(StepError) as caught:
        bench.perform(step)
    assert caught.value.problems[0].slug == "wheel-record"


def test_damaged_file(bench: Bench) -> None:
    (bench.root / "tiny-1.0-py3-none-any.whl").write_bytes(b"not a zip")
    recipe = bench.recipe(wheels=("tiny-1.0-py3-none-any.whl",))
    assert bench.slugs(recipe) == ["wheel-damaged"]


def test_exec_bits_survive(tmp_path: Path) -> None:
    path = make_wheel(tmp_path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "x.zip", "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename == "tiny.py":
                member.external_attr = 0o100711 << 16
            new.writestr(member, content)
    (tmp_path / "x.zip").replace(path)
    with zipfile.ZipFile(repack(path, tmp_path / "out")) as archive:
        modes = {m.filename: m.external_attr >> 16 for m in archive.infolist()}
    assert modes.pop("tiny.py") == 0o100755
    assert set(modes.values()) == {0o100644}
