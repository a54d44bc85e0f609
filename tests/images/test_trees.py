"""Trees of packages: the same bytes everywhere, true to their RECORD, and clear when they fail."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import secrets
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coopery import fitting
from coopery.dependencies import Layer, Pin, Stage
from coopery.digests import digest
from coopery.errors import MachineError, Problem, RecipeError, StepError
from coopery.images import Base, Blueprint
from coopery.reasons import changes
from coopery.steps import Part
from coopery_images import laying, platforms, trees, work
from coopery_images.rendering import pins_of
from coopery_images.work import PackageTree

from .conftest import Bench, write_wheel

SITE = "env/lib/python3.11/site-packages"


def tree_of(bench: Bench, *layers: Layer, part: str = "dependencies") -> Path:
    blueprint = bench.blueprint(*layers)
    step = next(p.steps[-1] for p in blueprint.parts if p.name == part)
    _, folder = bench.perform(step)
    return folder


def listing(folder: Path) -> dict[str, tuple[str, bool]]:
    """Every file and link of a tree, by path: what it holds, and whether it can be executed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = (f"-> {path.readlink()}", False)
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = (digest, bool(path.stat().st_mode & 0o100))
    return found


def check_records(tree: Path) -> int:
    """Check every hash of every RECORD; how many there are."""
    count = 0
    for record in (tree / SITE).glob("*.dist-info/RECORD"):
        with record.open(newline="") as file:
            rows = list(csv.reader(file))
        assert rows == sorted(rows)
        for name, value, size in rows:
            content = (tree / SITE / name).read_bytes()
            if value:
                found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
                assert value == f"sha256={found.decode()}"
                assert int(size) == len(content)
                count += 1
    return count


def test_a_tree_is_a_virtual_environment(bench: Bench, wheel: Callable[..., Path]) -> None:
    tree = tree_of(bench, bench.packages(wheel("alpha", scripts=["alpha", "other"])))
    assert (tree / "env/bin/alpha").read_bytes().startswith(b"#!/opt/coopery/env/bin/python\n")
    assert (tree / "env/bin/python").readlink() == Path("/usr/bin/python3")
    assert (tree / "env/bin/python3.11").readlink() == Path("python")
    assert (tree / "env/pyvenv.cfg").read_text().startswith("home = /usr/bin\n")
    assert (tree / SITE / "alpha.py").exists()
    assert check_records(tree) >= 6
    assert sorted(p.name for p in tree.iterdir()) == ["env", "install.py", "work"]
    assert sorted(p.name for p in (tree / "env").iterdir()) == ["bin", "lib", "pyvenv.cfg"]


def test_two_trees_made_elsewhere_are_equal(
    bench: Bench,
    tmp_path: Path,
    wheel: Callable[..., Path],
    own_wheel: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packages = bench.packages(wheel("alpha", scripts=["alpha"]), wheel("gamma-ray", "3"))
    own = bench.own(own_wheel("beta", scripts=["beta"]))
    first = [listing(tree_of(bench, packages, own, part=p)) for p in ("dependencies", "wheels")]
    monkeypatch.setenv("HOME", str(tmp_path / "another person"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_LINK_MODE", "symlink")
    # So long, and with a space in it, that scripts begin in another way.
    bench.home = tmp_path / ("a home with a long name " * 8).strip()
    time.sleep(1.1)
    for layers, name in ((packages, "dependencies"), (own, "wheels")):
        assert listing(tree_of(bench, packages, own, part=name)) in first, layers.name
    assert first[0] != first[1]


def test_nothing_tells_where_a_local_wheel_lay(
    bench: Bench, own_wheel: Callable[..., Path]
) -> None:
    wheel = own_wheel("beta", "2.0", scripts=["beta"])
    tree = tree_of(bench, bench.own(wheel), part="wheels")
    info = tree / SITE / "beta-2.0.dist-info"
    assert sorted(p.name for p in info.iterdir()) == [
        "INSTALLER", "METADATA", "RECORD", "REQUESTED", "WHEEL", "entry_points.txt",
    ]  # fmt: skip
    assert "direct_url" not in (info / "RECORD").read_text()
    assert check_records(tree) == 7
    for path in tree.rglob("*"):
        if path.is_file():
            assert str(bench.root.parent).encode() not in path.read_bytes(), path
    [told] = json.loads((tree / "wheels.json").read_text())
    assert told["file"] == wheel.name
    assert told["sha256"] == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_an_origin_is_kept_without_credentials(tmp_path: Path) -> None:
    file = tmp_path / "direct_url.json"
    file.write_text(
        json.dumps({"url": "https://user:secret@host.example/a.whl", "archive_info": {}})
    )
    told = laying._origin(file)
    assert told is not None
    assert json.loads(told) == {"url": "https://host.example/a.whl", "archive_info": {}}


def test_an_own_wheel_replaces_the_published_one(
    bench: Bench, wheel: Callable[..., Path], own_wheel: Callable[..., Path]
) -> None:
    layers = (
        bench.packages(wheel("be-ta", "9.0"), wheel("alpha")),
        bench.own(own_wheel("be.ta", "1.0")),
    )
    assert [pin.name for pin in pins_of(layers)] == ["alpha"]
    tree = tree_of(bench, *layers)
    assert not list((tree / SITE).glob("be*"))
    blueprint = bench.blueprint(*layers)
    assert [line.split(" ")[0] for line in blueprint.packages] == ["alpha==1.0"]


def failure(bench: Bench, *layers: Layer) -> str:
    with pytest.raises(StepError) as caught:
        tree_of(bench, *layers)
    [problem] = caught.value.problems
    return f"{problem.slug}: {problem.message}"


def test_a_package_without_a_wheel_for_the_platform_is_named(
    bench: Bench, wheel: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")  # a width at which uv would break its words
    other = wheel("alpha", tag="cp311-cp311-manylinux_2_17_aarch64")
    told = failure(bench, bench.packages(other))
    assert told.startswith("wheel-unavailable: alpha 1.0 has no wheel for the platform of image")
    assert "x86_64-manylinux_2_36" in told
    bench.base = replace(bench.base, platform="linux/arm64", libc="glibc 2.31")
    assert tree_of(bench, bench.packages(other))
    bench.base = replace(bench.base, libc="musl 1.2")
    assert failure(bench, bench.packages(other)).startswith("wheel-unavailable")


def compiled(folder: Path, name: str, tag: str, content: bytes) -> Path:
    """A wheel with one library in it."""
    file = write_wheel(folder, name, tag=tag)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(f"{name}.so", b"\x7fELF" + content)
    return file


NEW, OLD = b"\0\0GLIBC_2.4\0GLIBC_2.34\0libc.so.6\0", b"\0GLIBC_2.4\0libc.so.6\0"
MUSL = b"\0libc.musl-x86_64.so.1\0"
BOOKWORM, BUSTER = "x86_64-manylinux_2_36", "x86_64-manylinux_2_28"
ALPINE = "x86_64-unknown-linux-musl"


@pytest.mark.parametrize(
    ("tag", "content", "target", "reason"),
    [
        ("linux_x86_64", NEW, BOOKWORM, None),
        ("linux_x86_64", NEW, BUSTER, "it needs glibc 2.34 or later"),
        ("linux_x86_64", OLD, BUSTER, None),
        ("linux_x86_64", OLD, ALPINE, "it needs glibc 2.4 or later"),
        ("linux_x86_64", OLD, "aarch64-manylinux_2_36", "it is for x86_64"),
        ("linux_x86_64", MUSL, ALPINE, None),
        ("linux_x86_64", MUSL, BOOKWORM, "it was built for musl"),
        ("linux_x86_64", b"static", ALPINE, None),
        ("manylinux_2_36_x86_64", b"", BUSTER, "it needs glibc 2.36 or later"),
        ("manylinux_2_17_x86_64.manylinux2014_x86_64", b"", BUSTER, None),
        ("manylinux1_x86_64", b"", BUSTER, None),
        ("manylinux1_x86_64", b"", ALPINE, "it needs glibc 2.5 or later"),
        ("musllinux_1_2_x86_64", b"", ALPINE, None),
        ("musllinux_1_2_x86_64", b"", BOOKWORM, "it is for musl 1.2"),
        ("macosx_11_0_arm64", b"", BOOKWORM, "it is for macosx_11_0_arm64"),
    ],
)
def test_a_wheel_fits_a_base_by_its_platform(
    tmp_path: Path, tag: str, content: bytes, target: str, reason: str | None
) -> None:
    wheel = compiled(tmp_path, "own", f"cp311-cp311-{tag}", content)
    assert fitting.unfit(wheel, target) == reason


def test_a_wheel_of_this_machine_without_objects_is_as_its_c_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = write_wheel(tmp_path, "own", tag="cp311-cp311-linux_x86_64")
    monkeypatch.setattr(fitting, "own_libc", lambda: ("glibc", 31))
    assert fitting.unfit(wheel, BOOKWORM) is None
    assert fitting.unfit(wheel, BUSTER) == "it needs glibc 2.31 or later"
    assert fitting.unfit(wheel, ALPINE) == "it needs glibc 2.31 or later"
    monkeypatch.setattr(fitting, "own_libc", lambda: ("musl", 2))
    assert fitting.unfit(wheel, ALPINE) is None
    assert fitting.unfit(wheel, BOOKWORM) == "it was built for musl"


def test_this_machines_c_library() -> None:
    kind, minor = fitting.own_libc()
    assert kind in ("glibc", "musl") and minor >= 2


@pytest.mark.parametrize("libc", ["musl 1.2", "glibc 2.28"])
def test_a_wheel_that_does_not_fit_the_base_is_told(
    bench: Bench, own_wheel: Callable[..., Path], tmp_path: Path, libc: str
) -> None:
    bench.base = replace(bench.base, libc=libc)
    file = compiled(tmp_path / "own", "beta", "cp311-cp311-linux_x86_64", NEW)
    with pytest.raises(StepError) as caught:
        tree_of(bench, bench.own(file), part="wheels")
    (found,) = caught.value.problems
    assert found.slug == "wheel-unavailable" and found.hint
    assert f"{file.name} does not fit the base {bench.base.reference}" in found.message
    assert libc in found.message and "2.34" in found.message


def test_a_lock_with_files_for_other_platforms_alone(
    bench: Bench, wheel: Callable[..., Path]
) -> None:
    layer = bench.packages(wheel("alpha", tag="cp311-cp311-manylinux_2_17_x86_64"))
    wheel("alpha", tag="cp311-cp311-musllinux_1_2_x86_64")
    bench.base = replace(bench.base, libc="musl 1.2")
    told = failure(bench, layer)
    assert told.startswith("wheel-unavailable: alpha 1.0 is locked with files for other platforms")
    assert "(x86_64-manylinux_2_40)" in told and "(x86_64-unknown-linux-musl)" in told


def test_a_source_distribution_alone_is_no_wheel(bench: Bench) -> None:
    import io
    import tarfile

    bench.shelf.mkdir()
    text = b"Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n"
    with tarfile.open(bench.shelf / "alpha-1.0.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("alpha-1.0/PKG-INFO")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    digest = hashlib.sha256((bench.shelf / "alpha-1.0.tar.gz").read_bytes()).hexdigest()
    pin = Pin(name="alpha", version="1.0", hashes=(f"sha256:{digest}",))
    layer = replace(bench.packages(), pins=(pin,))
    assert failure(bench, layer).startswith("wheel-unavailable: alpha 1.0")


def test_a_file_that_is_not_the_locked_one_is_refused(
    bench: Bench, wheel: Callable[..., Path]
) -> None:
    layer = bench.packages(wheel("alpha"))
    wheel("alpha", files={"alpha.py": "import this\n"})
    told = failure(bench, layer)
    assert told == "hash-mismatch: alpha==1.0 is not the file that was locked: its hash differs"


def problem_of(bench: Bench, layer: Layer, part: str = "dependencies") -> Problem:
    """What of the machine is in the way of a tree."""
    with pytest.raises(MachineError) as caught:
        tree_of(bench, layer, part=part)
    (found,) = caught.value.problems
    assert found.hint
    return found


@pytest.mark.parametrize("userinfo", ["", "cooper:wr0ngone@"])
def test_an_extra_index_that_refuses_is_named(
    bench: Bench,
    tmp_path: Path,
    wheel: Callable[..., Path],
    guard_index: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    userinfo: str,
) -> None:
    pins = bench.packages(wheel("alpha")).pins
    host = guard_index(bench.shelf, "cooper", "right")
    (tmp_path / "simple").mkdir()
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"http://{userinfo}{host}/simple/")
    layer = Layer(name="packages", stage=Stage.DEPENDENCIES, pins=pins)
    found = problem_of(bench, layer)
    assert found.slug == "index-credentials", found
    assert host in found.message and "wr0ngone" not in str(found)
    assert found.place.file == "the variable PIP_EXTRA_INDEX_URL"
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"http://cooper:right@{host}/simple/")
    assert tree_of(bench, layer)


def test_a_full_disk_is_told(
    bench: Bench, small_disk: Path, wheel: Callable[..., Path], own_wheel: Callable[..., Path]
) -> None:
    big = {"big.py": secrets.token_hex(4 << 20)}
    bench.home = small_disk
    found = problem_of(bench, bench.packages(wheel("big", files=big)))
    assert found.slug == "disk-full" and "full" in found.message, found
    shutil.rmtree(small_disk / "places")
    found = problem_of(bench, bench.own(own_wheel("big", files=big)), "wheels")
    assert found.slug == "disk-full", found


def test_a_package_that_is_gone_is_told(bench: Bench, wheel: Callable[..., Path]) -> None:
    gone = wheel("alpha")
    layer = bench.packages(gone)
    gone.unlink()
    told = failure(bench, layer)
    assert told.startswith("install-failed: the packages of image 'science'")
    assert "alpha" in told


def test_a_tree_that_is_cancelled_ends_at_once(bench: Bench, wheel: Callable[..., Path]) -> None:
    blueprint = bench.blueprint(bench.packages(wheel("alpha")))
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(StepError) as caught:
        bench.perform(blueprint.steps[0], cancelled)
    assert caught.value.problems[0].slug == "cancelled"


def work_of(blueprint: Blueprint) -> PackageTree:
    found = blueprint.parts[0].steps[-1].work
    assert isinstance(found, PackageTree)
    return found


def test_what_checks_an_image_is_in_its_key(
    bench: Bench, tmp_path: Path, wheel: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = bench.packages(wheel("alpha"))
    before = work_of(bench.blueprint(layer))
    other = tmp_path / "install.py"
    other.write_text(work.INSTALLER.read_text() + "# more\n")
    monkeypatch.setattr(work, "INSTALLER", other)
    work.checker_digest.cache_clear()
    after = work_of(bench.blueprint(layer))
    monkeypatch.undo()
    work.checker_digest.cache_clear()
    assert digest(before) != digest(after)
    assert digest(before) == digest(work_of(bench.blueprint(layer)))
    was, now = ([Part(name="checker", value=x.checker or "")] for x in (before, after))
    (change,) = changes(was, now)
    assert change.name == "files of the check of packages"


def test_the_platform_is_that_of_the_base(base: Base) -> None:
    found = {
        ("linux/amd64", "glibc 2.36"): "x86_64-manylinux_2_36",
        ("linux/amd64", "glibc 2.30"): "x86_64-manylinux_2_28",
        ("linux/amd64", "glibc 2.99"): "x86_64-manylinux_2_40",
        ("linux/amd64", ""): "x86_64-manylinux_2_17",
        ("linux/arm64/v8", "glibc 2.17"): "aarch64-manylinux_2_17",
        ("linux/amd64", "musl 1.2"): "x86_64-unknown-linux-musl",
    }
    for (platform, libc), wanted in found.items():
        assert platforms.platform_of(replace(base, platform=platform, libc=libc)) == wanted


@pytest.mark.parametrize(
    ("platform", "libc"),
    [
        ("windows/amd64", ""),
        ("linux/s390x", "glibc 2.36"),
        ("linux/amd64", "glibc 2.12"),
        ("linux/amd64", "musl 1.1"),
        ("linux/amd64", "uclibc 0.9"),
    ],
)
def test_a_platform_without_packages_is_an_error(
    bench: Bench, wheel: Callable[..., Path], platform: str, libc: str
) -> None:
    bench.base = replace(bench.base, platform=platform, libc=libc)
    with pytest.raises(RecipeError) as caught:
        bench.blueprint(bench.packages(wheel("alpha")))
    assert caught.value.problems[0].slug == "unsupported-platform"
    assert bench.blueprint()  # what needs no package needs no platform


def test_the_checker_names_each_wrong_file(tmp_path: Path) -> None:
    """As it runs in an image, here with an environment of this machine."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    python = tmp_path / "v/bin/python"
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(subprocess.check_output([python, "-c", ask], text=True).strip())
    info = site / "a_b-1.dist-info"
    info.mkdir(parents=True)
    (site / "a.py").write_text("x")
    (site / "other.py").write_text("y = 1")
    value = base64.urlsafe_b64encode(hashlib.sha256(b"x").digest()).rstrip(b"=").decode()
    (info / "RECORD").write_text(f"a.py,sha256={value},1\na_b-1.dist-info/RECORD,,\n")
    script = Path(laying.__file__).with_name("install.py")

    def check(*names: str) -> tuple[int, str]:
        command = [str(python), "-I", str(script), "check", *names]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stderr

    assert check("A.B") == (0, "")
    # What it checked it compiled, and nothing else.
    assert [p.name.split(".")[0] for p in (site / "__pycache__").iterdir()] == ["a"]
    subprocess.run([str(python), "-I", str(script), "compile"], check=True)
    other = next((site / "__pycache__").glob("other.*.pyc"))
    before = other.stat().st_mtime_ns
    assert check("A.B") == (0, "")
    assert other.stat().st_mtime_ns == before
    assert check("c")[0] == 1
    (site / "a.py").write_text("y")
    code, told = check("a-b")
    assert code == 1
    assert "a.py is not the file that its wheel recorded" in told
    (site / "a.py").unlink()
    assert check("a-b")[0] == 1


def test_packages_that_only_build_others_are_told() -> None:
    pins = [Pin(name=name, version="1", hashes=()) for name in ("numpy", "ninja", "cython")]
    (told,) = trees.hints(pins)
    assert told.startswith("cython, ninja are only needed to build packages")
    assert trees.hints(pins[:1]) == []
