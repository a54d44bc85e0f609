"""System packages, from a Debian repository that lies in the base: no network is needed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from coopery.contexts import entries_of
from coopery.dependencies import Layer, Stage
from coopery_images.dockerfile import dockerfile_of

from .conftest import REFERENCE, Bench, Engine

CLEAN = """\
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";
"""
"""What Debian's images for Docker say (/etc/apt/apt.conf.d/docker-clean)."""


def write_repository(folder: Path, *names: str) -> Path:
    """A repository of packages that each hold one file, and recommend what is not there."""
    (folder / "repo").mkdir(parents=True)
    described = []
    for name in names:
        tree = folder / name
        (tree / "DEBIAN").mkdir(parents=True)
        control = (
            f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@b>\n"
            f"Recommends: {name}-more\nDescription: a test\n"
        )
        (tree / "DEBIAN" / "control").write_text(control)
        (tree / "usr/share" / name).mkdir(parents=True)
        (tree / "usr/share" / name / "file").write_text(name)
        file = folder / "repo" / f"{name}_1.0_all.deb"
        command = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(file)]
        subprocess.run(command, check=True, capture_output=True)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        size = file.stat().st_size
        described.append(f"{control}Filename: ./{file.name}\nSize: {size}\nSHA256: {digest}\n")
    (folder / "repo" / "Packages").write_text("\n".join(described))
    return folder / "repo"


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here")
@pytest.mark.parametrize("buildkit", [False, True], ids=["classic", "buildkit"])
def test_system_packages_are_installed_and_nothing_else_stays(
    bench: Bench, engine: Engine, tmp_path: Path, buildkit: bool
) -> None:
    repository = write_repository(tmp_path / "debian", "first-thing", "second+thing")
    (repository / "docker-clean").write_text(CLEAN)
    lines = [
        f"FROM {REFERENCE}",
        "COPY repo /repo",
        "RUN rm -rf /etc/apt/sources.list* && mv /repo/docker-clean /etc/apt/apt.conf.d/ && "
        "echo 'deb [trusted=yes] copy:/repo ./' > /etc/apt/sources.list",
        "USER 1234",
    ]
    made = engine.build("\n".join(lines), list(entries_of(repository, "repo")), buildkit=False)
    tag = engine.client.images.get(made).tags[0]
    bench.base = replace(bench.base, reference=tag)
    layer = Layer(
        name="system", stage=Stage.SYSTEM, system=("second+thing",), assumed=("first-thing",)
    )
    blueprint = bench.blueprint(layer)
    bench.make(blueprint)
    assert [part.name for part in blueprint.parts] == ["system", "dependencies"]
    text = dockerfile_of(blueprint, buildkit=buildkit)
    image = engine.build(text, list(bench.entries(blueprint)), buildkit=buildkit)

    found = engine.run(image, "cat", "/usr/share/first-thing/file", "/usr/share/second+thing/file")
    assert found == "first-thingsecond+thing"
    # The index, and the packages, are in a cache or nowhere.
    left = "find /var/lib/apt/lists /var/cache/apt -type f -not -name lock"
    assert engine.run(image, "sh", "-c", left, user="0:0") == ""
    assert engine.config(image)["User"] == "1000:1000"
    if not buildkit:
        return
    # The next build finds them there: it needs the index no more.
    kept = [
        f"FROM {tag}",
        "USER 0",
        "RUN --mount=type=cache,sharing=locked,target=/var/cache/apt ls /var/cache/apt/kept > /k",
    ]
    listed = engine.run(engine.build("\n".join(kept), buildkit=True), "cat", "/k")
    assert "first-thing_1.0_all.deb" in listed
