"""What runs that were killed left of secrets in memory."""

from __future__ import annotations

from collections.abc import Iterator

from coopery import keeping
from coopery.findings import Finding


def look(*, mend: bool, quick: bool) -> Iterator[Finding]:
    """Find the folders that no task holds; before a run, and to mend, remove them."""
    for folder in keeping.sweep() if mend or quick else keeping.abandoned():
        mended = mend or quick
        text = f"{'removed' if mended else 'there are'} secrets of a run that was killed: {folder}"
        hint = None if mended else "coopery doctor --mend removes them"
        yield Finding(subject="secrets", state="warning", text=text, hint=hint, mended=mended)
