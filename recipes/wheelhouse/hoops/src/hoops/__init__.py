"""The iron that holds a cask together."""

from __future__ import annotations

import math

OVERLAP = 0.04
"""Metres by which the ends of a hoop overlap, for the rivets."""


def length(girth: float) -> float:
    """Metres of iron for a hoop around a cask of this girth (metres)."""
    return girth + OVERLAP


def girth(diameter: float) -> float:
    """The way around a cask, in the unit of its diameter."""
    return math.pi * diameter
