"""What rules count, by hand calculation (row K4)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coopery.errors import RecipeError
from coopery_taskapi import scaling
from coopery_taskapi.matching import is_plain
from coopery_taskapi.merging import Channel
from coopery_taskapi.models import ScaleRule

from .test_merging import merged

FILES = {
    "a.txt": 100,
    "b.bin": 7000,
    "one/a.txt": 10,
    "one/deep/c.txt": 200,
    "two/a.txt": 300,
    "two/.hidden.txt": 5,
    "empty/": 0,
}
RULE = ScaleRule(scale_factor=2.0, type="limit", mode="sum")
Counts = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name, size in FILES.items():
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    return folder


@pytest.fixture
def counts(data: Path) -> Counts:
    def count(**changes: Any) -> tuple[int, list[str]]:
        found = scaling.count([("", data)], replace(RULE, **changes), "data")
        return found.size, [name for name, _ in found.files]

    return count


def test_sums(counts: Counts) -> None:
    assert counts()[0] == 100 + 7000 + 10 + 200 + 300 + 5
    assert counts(target_regex=r".*\.txt")[0] == 615
    assert counts(target_glob="*.txt") == (
        615,
        ["a.txt", "one/a.txt", "one/deep/c.txt", "two/.hidden.txt", "two/a.txt"],
    )
    assert counts(target_dir="one") == (210, ["one/a.txt", "one/deep/c.txt"])
    # The regular expression is matched with the whole path from `target_dir`.
    assert counts(target_regex=r"[a-z]+\.txt")[0] == 100
    assert counts(target_dir="one", target_regex=r"deep/.*")[0] == 200
    assert counts(target_dir="one", target_regex=r"one/.*")[0] == 0
    assert counts(target_glob="two/*.txt")[0] == 305
    assert counts(target_glob="*.none") == (0, [])
    assert counts(target_dir="nowhere") == (0, [])


def test_the_largest_file(counts: Counts) -> None:
    assert counts(mode="max_file_size")[0] == 7000
    assert counts(mode="max_file_size", target_glob="*.txt")[0] == 300
    assert counts(mode="max_file_size", target_glob="*.none")[0] == 0


def test_the_largest_item(counts: Counts, data: Path) -> None:
    assert counts(mode="max_item_sum")[0] == 305
    assert counts(mode="max_item_sum", target_dir="deep") == (200, ["one/deep/c.txt"])
    found = scaling.count([("", data)], replace(RULE, mode="max_item_sum"), "data")
    assert found.item == "two"


def test_a_channel_without_items_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RecipeError, match=r"'data' has no item.*\[empty-channel\]"):
        scaling.count([("", tmp_path)], replace(RULE, mode="max_item_sum"), "data")
    with pytest.raises(RecipeError, match=r"\[missing-input\]"):
        scaling.count([("", tmp_path / "gone")], RULE, "data")


def test_links_lead_nowhere_else(counts: Counts, data: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_bytes(b"x" * 999)
    (data / "out.txt").symlink_to(tmp_path / "secret.txt")
    (data / "up").symlink_to(tmp_path)
    (data / "in.txt").symlink_to("a.txt")
    (data / "gone.txt").symlink_to("nowhere")
    (data / "loop").symlink_to("loop")
    assert counts(target_glob="*.txt")[0] == 615 + 100
    assert counts(target_dir="up")[0] == 0


def requirement(folder: Path, name: str, **changes: Any) -> Channel:
    rule = replace(RULE, **changes)
    return Channel(
        name=name,
        host_path=str(folder),
        mounted_path=f"/{name}",
        scale_rule=rule,
        rule_source="task",
    )


@pytest.mark.parametrize(
    ("factors", "stated", "limit"),
    [
        ([25.0], 100, 25 * 615),
        ([25.0], 1 << 20, 1 << 20),
        ([25.0, 30.0], 100, 30 * 615),
        ([0.1], 10, 62),  # 61.5 bytes are not enough: rounded up
        ([], 100, 100),
    ],
)
def test_memory_is_the_largest_of_all(
    data: Path, factors: list[float], stated: int, limit: int
) -> None:
    channels = tuple(
        requirement(data, f"c{n}", scale_factor=factor, target_regex=r".*\.txt")
        for n, factor in enumerate(factors)
    )
    base = merged()
    amount = replace(base.limits["memory"], value=float(stated))
    instance = replace(base, inputs=channels, outputs=(), limits={"memory": amount}, requests={})
    found = scaling.memory_of(instance)
    assert (found.limit, found.request) == (limit, None)
    assert [r.memory for r in found.requirements] == [-int(-f * 615 // 1) for f in factors]


def test_requests_and_limits_are_apart(data: Path) -> None:
    channels = (
        requirement(data, "a", type="request", target_dir="one"),
        requirement(data, "b", type="limit", target_glob="*.none"),
    )
    instance = replace(merged(), inputs=channels, outputs=(), limits={}, requests={})
    found = scaling.memory_of(instance)
    assert (found.limit, found.request) == (None, 420)


def test_the_sum_is_explained(data: Path) -> None:
    channel = requirement(data, "a", scale_factor=25.0, target_glob="*.txt")
    assert channel.scale_rule is not None
    lines = scaling.explain(
        scaling.require(channel, channel.scale_rule, [("", Path(channel.host_path))]), most=2
    )
    assert lines == [
        "25 x 615 B = 15375 B",
        "sum beneath ., files that match *.txt and .*: 5",
        "  300 B  two/a.txt",
        "  200 B  one/deep/c.txt",
        "  115 B  in 3 more",
    ]


@pytest.mark.parametrize(
    ("regex", "plain"),
    [
        (r".*\.txt", True),
        (r"one/.*", True),
        (r"a.txt", True),
        (r"(a|b).txt", False),
        (r"a*.txt", False),
        (r".*.*x", False),
        (r".*?x", False),
        (r".{3}", False),
        (r"\.*", False),
    ],
)
def test_only_the_plainest_expressions_are_matched_in_this_process(regex: str, plain: bool) -> None:
    assert is_plain(regex) is plain


def test_an_expression_is_the_same_in_a_process_of_its_own(counts: Counts) -> None:
    for plain, other in ((r".*\.txt", r"(.*)\.txt"), (r"one/.*", r"(?s:one/.*)")):
        assert counts(target_regex=plain) == counts(target_regex=other) != (0, [])


def test_names_that_are_no_text_are_matched(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff\nb.txt")).write_bytes(b"xyz")
    for regex in (r".*\.txt", r"(.*)\.txt", r"a[\udc80-\udcff]\nb.txt"):
        found = scaling.count([("", tmp_path)], replace(RULE, target_regex=regex), "data")
        assert found.size == 3


def test_an_expression_that_never_ends_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ("a" * 60 + "!")).touch()
    monkeypatch.setattr("coopery_taskapi.matching.PATIENCE", 1)
    for mode in ("sum", "max_item_sum"):
        (tmp_path / "item").mkdir(exist_ok=True)
        (tmp_path / "item" / ("a" * 60 + "!")).touch()
        rule = replace(RULE, mode=mode, target_regex="(a+)+")
        with pytest.raises(RecipeError) as caught:
            scaling.count([("", tmp_path)], rule, "data")
        assert caught.value.problems[0].slug == "slow-regex"


def test_a_factor_without_bounds_is_a_number(data: Path) -> None:
    channel = requirement(data, "a", scale_factor=1e308)
    instance = replace(merged(), inputs=(channel,), outputs=(), limits={}, requests={})
    found = scaling.memory_of(instance)
    assert found.limit is not None and found.limit > 10**300


def test_what_is_taken_away_meanwhile_is_not_counted(
    data: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = counts()[0]
    walk = os.scandir

    def late(path: Any) -> Any:
        if str(path).endswith("/deep"):
            shutil.rmtree(path)
        return walk(path)

    monkeypatch.setattr(os, "scandir", late)
    assert counts()[0] == before - 200
