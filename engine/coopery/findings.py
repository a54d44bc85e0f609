"""What a look at the machine finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at: well (`ok`), to know of (`warning`), or in the way (`error`).

    `hint` says how to mend it; `mended` that it was wrong and has just been mended.
    """

    subject: str
    state: Literal["ok", "warning", "error"]
    text: str
    hint: str | None = None
    mended: bool = False
