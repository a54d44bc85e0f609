"""Base images in the lock: found once, looked up by reference and platform, kept while wanted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from coopery.errors import MachineError, Problem, RecipeError
from coopery.images import Base
from coopery.options import LockPolicy
from coopery_lock import bases

SLIM = "python:3.11-slim"
HERE = bases.engine_platform()
FOREIGN = "linux/riscv64"


def base(reference: str = SLIM, mark: str = "a", **changes: Any) -> Base:
    found = Base(
        reference=reference,
        id=f"sha256:{mark * 64}",
        platform=HERE,
        digest=f"sha256:{mark.upper() * 64}",
        python="3.11.2",
        executable="/usr/bin/python3",
        libc="glibc 2.36",
    )
    return replace(found, **changes)


@pytest.fixture
def based(bench: Any) -> Any:
    """Two images on one base, of which only the first asks for a package."""
    bench.image("alpha")
    bench.image(name="b")
    bench.bases = {"a": SLIM, "b": SLIM}
    bench.engine = {SLIM: base()}
    return bench


@pytest.fixture
def elsewhere(monkeypatch: Any) -> Callable[[str], None]:
    """Move to a machine of another platform."""

    def move(platform: str) -> None:
        monkeypatch.setattr("coopery_lock.bases.engine_platform", lambda: platform)

    return move


def test_a_base_is_inspected_once_and_then_taken_from_the_lock(based: Any) -> None:
    lock = based.lock()
    assert based.inspected == [SLIM]
    assert lock.bases == {"a": base(), "b": base()}
    begun, ended = (line for line in based.told if "base image" in line)
    assert begun == f"lock     base image {SLIM}"
    assert f"base image {SLIM}: {HERE}, Python 3.11.2, glibc 2.36, sha256:AAAAAAAAAAAA in" in ended
    assert [line for line in lock.changed if SLIM in line]
    text = based.lock_text
    based.engine = {}  # which would raise
    for policy in (LockPolicy.RENEW, LockPolicy.LOCKED, LockPolicy.PREVIEW, LockPolicy.MEND):
        again = based.lock(policy)
        assert again.bases == lock.bases
        assert (again.changed, based.inspected, based.told) == ((), [], [])
    assert based.lock_text == text


def test_a_tag_that_moved_counts_only_after_an_upgrade(based: Any) -> None:
    based.lock()
    based.engine = {SLIM: base(mark="b")}
    assert based.lock().bases["a"] == base()
    lock = based.lock(LockPolicy.UPGRADE)
    assert based.inspected == [SLIM]
    assert lock.bases["a"] == base(mark="b")
    assert any("(was sha256:AAAAAAAAAAAA)" in line for line in lock.changed)
    assert "A" * 64 not in based.lock_text
    assert any("(as before)" in line for line in based.lock(LockPolicy.UPGRADE).changed)


def test_an_image_without_packages_has_a_base_too(bench: Any) -> None:
    bench.image()
    bench.bases = {"a": SLIM}
    bench.engine = {SLIM: base()}
    assert bench.lock().bases == {"a": base()}
    assert bench.lock(LockPolicy.LOCKED).bases == {"a": base()}


@pytest.mark.parametrize("policy", [LockPolicy.LOCKED, LockPolicy.PREVIEW])
def test_nothing_is_written_where_nothing_may(based: Any, policy: LockPolicy) -> None:
    based.bases = {}
    based.lock()
    text = based.lock_text
    based.bases = {"a": SLIM, "b": "debian:12"}
    based.engine["debian:12"] = base("debian:12", "c", python=None, executable=None)
    if policy is LockPolicy.PREVIEW:
        assert set(based.lock(policy).bases) == {"a", "b"}
        assert based.told[0] == f"inspect  base image {SLIM}"
        assert any("no Python" in line for line in based.told)
    else:
        with pytest.raises(RecipeError) as caught:
            based.lock(policy)
        first, second = caught.value.problems
        assert {first.slug, second.slug} == {"lock-outdated"}
        assert f"does not hold for a: it has no entry of the base image {SLIM}" in first.message
        assert "does not hold for b: it has no entry of the base image debian:12" in second.message
        assert "-r" in (first.hint or "")
        assert based.inspected == []
    assert based.lock_text == text


def test_what_all_images_lack_is_told_together(based: Any) -> None:
    based.bases["b"] = "debian:12"
    based.engine = {
        name: MachineError(Problem(slug="no-base-image", message=f"{name} cannot be had"))
        for name in (SLIM, "debian:12")
    }
    with pytest.raises(MachineError) as caught:
        based.lock()
    assert len(caught.value.problems) == 2
    assert not based.recipe.lock_file.exists()


def test_a_contradiction_is_told_before_anything_is_fetched(based: Any) -> None:
    based.image("beta", "gamma")
    with pytest.raises(RecipeError):
        based.lock()
    assert based.inspected == []


def test_two_platforms_stand_side_by_side(based: Any, elsewhere: Any) -> None:
    based.lock()
    ours = based.lock_text
    elsewhere(FOREIGN)
    with pytest.raises(RecipeError, match=f"{SLIM} for {HERE} only, not {FOREIGN}"):
        based.lock(LockPolicy.LOCKED)
    based.engine = {SLIM: base(mark="c", platform=FOREIGN)}
    based.lock()
    both = based.lock_text
    assert both.count("[[base]]") == 2
    assert ours.split("[[base]]")[1].split("[[set]]")[0].strip() in both
    assert based.lock(LockPolicy.LOCKED).bases["b"].platform == FOREIGN
    elsewhere(HERE)
    assert based.lock(LockPolicy.LOCKED).bases["b"] == base()
    # Who upgrades here leaves that of the other machine, which only that one can renew.
    based.engine = {SLIM: base(mark="d")}
    based.lock(LockPolicy.UPGRADE)
    assert "C" * 64 in based.lock_text and "A" * 64 not in based.lock_text


def test_a_variant_of_the_platform_is_this_platform(based: Any) -> None:
    based.engine = {SLIM: base(platform=f"{HERE}/v8")}
    based.lock()
    assert based.lock(LockPolicy.LOCKED).bases["a"].platform == f"{HERE}/v8"


def test_an_engine_of_another_platform_is_asked_and_the_pin_holds(based: Any) -> None:
    based.engine = {SLIM: base(platform=FOREIGN)}
    based.lock()
    based.engine = {SLIM: base(mark="b", platform=FOREIGN)}
    assert based.lock().bases["a"] == base(platform=FOREIGN)
    assert based.lock_text.count("[[base]]") == 1


def test_a_run_without_bases_keeps_them(based: Any) -> None:
    based.lock()
    text = based.lock_text
    wanted, based.bases = based.bases, {}
    for policy in (LockPolicy.RENEW, LockPolicy.UPGRADE, LockPolicy.MEND):
        assert based.lock(policy).bases == {}
        assert based.lock_text == text
    based.bases = wanted
    based.lock(LockPolicy.LOCKED)


def test_a_run_of_one_image_keeps_the_bases_of_the_others(based: Any) -> None:
    based.bases["b"] = "debian:12"
    based.engine["debian:12"] = base("debian:12", "c")
    based.lock()
    text = based.lock_text
    sets = [s for s in based.sets() if s.image == "a"]
    based.resolve(sets, LockPolicy.RENEW)
    assert based.lock_text == text


def test_a_base_that_no_image_wants_any_more_goes(based: Any) -> None:
    based.lock()
    based.bases["b"] = "debian:12"
    based.engine["debian:12"] = base("debian:12", "c")
    based.lock()
    assert based.inspected == ["debian:12"]
    assert based.lock_text.count("[[base]]") == 2
    based.bases["a"] = "debian:12"
    based.lock()
    assert SLIM not in based.lock_text
    del based.images["b"]
    based.lock()
    assert "'b'" not in based.lock_text
    del based.images["a"]
    based.lock()
    assert "[[base]]" not in based.lock_text


def test_a_base_without_digest_is_pinned_by_its_id_with_a_warning(based: Any) -> None:
    based.engine = {SLIM: base(digest=None)}
    assert based.lock().bases["a"].identity == f"sha256:{'a' * 64}"
    (warning,) = (line for line in based.told if line.startswith("warning:"))
    assert f"unpinned base {SLIM}" in warning
    based.lock()
    assert based.told == []


def test_the_file_says_the_same_in_the_same_bytes(based: Any) -> None:
    based.lock()
    assert based.lock_text.split("\n\n")[0].endswith("version = 3")
    table = based.lock_text.split("[[base]]\n")[1].split("\n\n")[0].splitlines()
    assert table[:-1] == [
        "images = [",
        "    'a',",
        "    'b',",
        "]",
        f"reference = '{SLIM}'",
        f"platform = '{HERE}'",
        f"manifest = 'sha256:{'A' * 64}'",
        f"id = 'sha256:{'a' * 64}'",
        "python = '3.11.2'",
        "executable = '/usr/bin/python3'",
        "libc = 'glibc 2.36'",
    ]
    first = based.lock_text
    based.recipe.lock_file.unlink()
    based.images = dict(reversed(based.images.items()))
    based.lock()
    assert based.lock_text == first


def test_a_lock_without_bases_is_what_it_was(based: Any) -> None:
    wanted, based.bases = based.bases, {}
    based.lock()
    before = based.lock_text
    assert "\nversion = 2\n" in before
    based.bases = wanted
    based.lock()
    # The packages are looked over once, for whether they have wheels for the base.
    assert [line for line in based.told if line.startswith("lock ")] == [
        f"lock     base image {SLIM}",
        "lock     a: 1 requirement",
    ]
    targets = re.compile(r"targets = \[\n    'x86_64-manylinux_2_36',\n\]\n")
    assert targets.search(based.lock_text)
    without = re.sub(r"digest = .*\n", "", targets.sub("", based.lock_text))
    assert re.sub(r"digest = .*\n", "", "[[set]]" + before.split("[[set]]")[1]) in without
    based.told.clear()
    based.lock()
    assert based.told == []


EDITS = {
    "manifest": ("A" * 64, "B" * 64),
    "id": (f"'sha256:{'a' * 64}'", "'sha256:b'"),
    "manifest gone": ("manifest =", "#manifest ="),
    "reference": (SLIM, "python:3.12-slim"),
    "platform": (HERE, FOREIGN),
    "python": ("'3.11.2'", "'3.11.3'"),
    "executable": ("/usr/bin/python3", "/bin/python3"),
    "libc": ("glibc", "musl"),
    "images": ("    'a',\n", ""),
    "key": ("libc =", "libk ="),
    "type": ("'3.11.2'", "3"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_noticed_with_its_line_and_mended(based: Any, edit: str) -> None:
    based.lock()
    good = based.lock_text
    text = good.replace(*EDITS[edit], 1)
    assert text != good
    based.recipe.lock_file.write_text(text)
    for policy in (LockPolicy.RENEW, LockPolicy.LOCKED, LockPolicy.PREVIEW):
        with pytest.raises(RecipeError) as caught:
            based.lock(policy)
        (found,) = caught.value.problems
        line = text.splitlines().index("[[base]]") + 1
        assert (found.slug, found.place.line) == ("lock-damaged", line)
    assert based.lock_text == text
    based.lock(LockPolicy.MEND)
    assert based.told[0].startswith("mend ")
    assert based.inspected == [SLIM]
    assert based.lock_text == good


def test_two_entries_of_one_base_are_noticed(based: Any) -> None:
    based.lock()
    good = based.lock_text
    table = "[[base]]" + good.split("[[base]]")[1].split("[[set]]")[0]
    based.recipe.lock_file.write_text(good + "\n" + table)
    with pytest.raises(RecipeError) as caught:
        based.lock()
    (found,) = caught.value.problems
    assert (found.slug, found.place.line) == ("lock-damaged", good.count("\n") + 2)
    assert f"two entries of the base image {SLIM}" in found.message


def test_after_a_conflict_elsewhere_the_bases_are_as_good_as_they_were(based: Any) -> None:
    based.lock()
    good = based.lock_text
    marked = "<<<<<<< HEAD\nversion = '2.0'\n=======\nversion = '1.0'\n>>>>>>> theirs\n"
    based.recipe.lock_file.write_text(good.replace("version = '2.0'\n", marked))
    based.engine = {SLIM: base(mark="b")}
    based.lock(LockPolicy.MEND)
    assert based.inspected == []
    assert based.lock_text == good


ARM = "debian:arm64"
ALPINE = "python:alpine"
BACKEND = """
from pathlib import Path

def prepare_metadata_for_build_wheel(folder, settings=None):
    info = Path(folder, "source-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: source\\nVersion: 1.0\\n")
    return info.name

def build_wheel(folder, settings=None, metadata=None):
    raise NotImplementedError
"""
LINUX = "cp311-cp311-manylinux_2_17_{}"


def test_packages_are_resolved_for_the_platform_of_the_base(bench: Any, wheel: Any) -> None:
    """Markers and wheels are the base's, not this machine's; each platform has an entry."""
    wheel(bench.index, "both", "1.0", tag="py3-none-any")
    wheel(bench.index, "both", "2.0", tag=LINUX.format("x86_64"))
    wheel(bench.index, "armed", "1.0", tag=LINUX.format("aarch64"))
    lines = ("both", "armed; platform_machine == 'aarch64'")
    bench.image(*lines)
    bench.image(*lines, name="b")
    bench.bases = {"a": SLIM, "b": ARM}
    bench.engine = {SLIM: base(), ARM: base(ARM, "b", platform="linux/arm64")}
    wanted = {"a": [("both", "2.0")], "b": [("armed", "1.0"), ("both", "1.0")]}
    for policy in (LockPolicy.RENEW, LockPolicy.RENEW, LockPolicy.LOCKED):
        pins = bench.lock(policy).pins
        assert {n: [(p.name, p.version) for p in found] for n, found in pins.items()} == wanted
    assert bench.told == [] and bench.inspected == []
    assert bench.lock_text.count("[[set]]") == 2
    assert f"platform = 'linux/arm64'\nmachine = '{HERE}'\n" in bench.lock_text
    # Under a runtime without bases it is this machine that counts; the others stay as they are.
    bench.bases = {}
    assert [p.version for p in bench.lock().pins["b"]] == ["2.0"]
    bench.bases = {"a": SLIM, "b": ARM}
    assert len(bench.lock(LockPolicy.LOCKED).pins["b"]) == 2


@pytest.mark.parametrize(
    ("platform", "libc", "shown"),
    [
        (HERE, "musl 1.2", "x86_64-unknown-linux-musl"),
        ("linux/arm64", "glibc 2.31", "aarch64-manylinux_2_31"),
    ],
)
def test_packages_without_a_wheel_for_the_base_are_told_before_anything_else(
    bench: Any, wheel: Any, sdist: Any, platform: str, libc: str, shown: str
) -> None:
    """With the lines that bring them, also where the lock is of a runtime that builds."""
    wheel(bench.index, "bound", "1.0", tag=LINUX.format("x86_64"))
    sdist(bench.index, "source", "1.0", BACKEND)
    wheel(bench.index, "outer", "1.0", "source")
    bench.engine = {"other": base("other", platform=platform, libc=libc)}
    for line, name, there in (
        ("outer", "source", "it is only there as a source distribution"),
        ("bound", "bound", "manylinux_2_17_x86_64"),
    ):
        bench.image("beta; python_version < '3'", line)
        bench.bases = {}
        bench.lock()
        text, bench.bases = bench.lock_text, {"a": "other"}
        with pytest.raises(RecipeError) as caught:
            bench.lock()
        (told,) = caught.value.problems
        assert told.slug == "wheel-unavailable" and told.place.key[-1] == 1
        lacking = f"{name} 1.0 has no wheel for the platform of image 'a' ({shown}, Python 3.11)"
        assert lacking in told.message and there in told.message
        assert told.hint and "`wheels`" in told.hint
        assert bench.lock_text == text


@pytest.mark.skipif(HERE != "linux/amd64", reason="it names the wheels of this platform")
def test_a_held_lock_is_looked_over_for_a_new_base(bench: Any, wheel: Any) -> None:
    wheel(bench.index, "bound", "1.0", tag="cp311-cp311-manylinux_2_34_x86_64")
    bench.image("bound")
    bench.bases = {"a": SLIM}
    bench.engine = {SLIM: base(), "old": base("old", libc="glibc 2.28")}
    bench.lock()
    bench.bases = {"a": "old"}
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    (told,) = caught.value.problems
    assert told.slug == "wheel-unavailable" and told.place.key[-1] == 0
    assert "bound 1.0 has no wheel for the platform of image 'a'" in told.message
    assert "x86_64-manylinux_2_28" in told.message and "`wheels`" in (told.hint or "")
    wheel(bench.index, "bound", "0.9", tag="cp311-cp311-manylinux_2_28_x86_64")
    assert [p.version for p in bench.lock().pins["a"]] == ["0.9"]
