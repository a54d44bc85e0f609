"""Quantities and durations, in all their forms."""

from __future__ import annotations

import pytest

from coopery.quantities import parse_duration, parse_quantity, show_bytes, show_seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("0.5", 0.5),
        (".5", 0.5),
        ("5.", 5),
        ("+3", 3),
        ("500m", 0.5),
        ("100u", 1e-4),
        ("100n", 1e-7),
        ("1k", 1000),
        ("1M", 10**6),
        ("1.5G", 1.5e9),
        ("1T", 10**12),
        ("1P", 10**15),
        ("1E", 10**18),
        ("1Ki", 1024),
        ("512Mi", 512 * 2**20),
        ("2Gi", 2 * 2**30),
        ("1Ti", 2**40),
        ("1Pi", 2**50),
        ("1Ei", 2**60),
        ("1e3", 1000),
        ("12E2", 1200),
        ("128974848000m", 128974848),
    ],
)
def test_quantity(text: str, value: float) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", "lots", "1 GB", "1GB", "1K", "0", "-1", "1e", "Mi", "1.2.3", "0x1"]
)
def test_not_a_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("250ms", 0.25), ("2d", 172800)],
)
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "10", "1 m", "-1s", "0s", "1y"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_duration(text)


def test_shown() -> None:
    assert show_bytes(0) == "0 B"
    assert show_bytes(1536) == "1.5 KiB"
    assert show_seconds(0.041) == "0.04s"
    assert show_seconds(125) == "2m05s"
    assert show_seconds(3720) == "1h02m"
