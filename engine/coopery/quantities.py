"""Sizes and durations as people write them: Kubernetes quantities, and `1h30m`."""

from __future__ import annotations

import re

from coopery.marks import Text

_SUFFIXES = {
    "": "1",
    "n": "1e-9",
    "u": "1e-6",
    "m": "1e-3",
    **{unit: str(1000**power) for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": str(1024**power) for power, unit in enumerate("KMGTPE", start=1)},
}
_QUANTITY = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2}|[numkMGTPE]|[KMGTPE]i)?"
_MOST = 10**30
"""More than any machine has of anything: beyond it, arithmetic on amounts ends in errors."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|[smhd]))+"


def parse_quantity(text: str) -> float:
    """The value of a Kubernetes quantity, in its base unit (bytes or cores).

    All forms of the Kubernetes API: plain and decimal numbers, exponents (`1e3`), the suffixes
    n u m k M G T P E and Ki Mi Gi Ti Pi Ei. Raises ValueError for anything else, and for a
    negative or zero amount, which no resource can have.
    """
    from decimal import Decimal

    if not re.fullmatch(_QUANTITY, text):
        raise ValueError("expected a quantity such as 2, 500m, 512Mi, 1.5G or 1e9")
    split = re.fullmatch(r"(.*?)([numkMGTPE]|[KMGTPE]i)?", text)
    assert split is not None
    value = Decimal(split[1]) * Decimal(_SUFFIXES[split[2] or ""])
    if value <= 0:
        raise ValueError("expected more than zero")
    if value > _MOST:
        raise ValueError("expected less than 1e30")
    return float(value)


def parse_duration(text: str) -> float:
    """Seconds in `90s`, `10m`, `1h30m`, `250ms`, `2d`. Raises ValueError for anything else."""
    if not re.fullmatch(_DURATION, text):
        raise ValueError("expected a duration such as 90s, 10m or 1h30m")
    seconds = sum(
        float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|[smhd])", text)
    )
    if seconds <= 0:
        raise ValueError("expected more than zero")
    return seconds


def show_bytes(size: float) -> str:
    """A size for people: `0 B`, `1.5 KiB`, `512 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"


def show_seconds(seconds: float) -> str:
    """A duration for people: `0.04s`, `12.3s`, `2m05s`, `1h02m`."""
    if seconds < 60:
        return f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


Quantity = Text(
    parse_quantity,
    pattern=f"^{_QUANTITY}$",
    what="a quantity",
    number=True,
    mend='write a number greater than zero, or text such as "512Mi"',
)
Duration = Text(
    parse_duration,
    pattern=f"^{_DURATION}$",
    what="a duration",
    number=True,
    mend='write seconds as a number greater than zero, or text such as "10m"',
)
