"""What was found, as a table or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from coopery.commands import Context, table
from coopery.errors import visible
from coopery.findings import Finding

_SHOWN = {"ok": "ok", "warning": "warning", "error": "ERROR"}


def report(context: Context) -> int:
    """Ask every plugin, print the answers; 3 when something is in the way still, else 0."""
    mend = bool(context.arguments.mend)
    settings = context.settings
    if not getattr(context.arguments, "json", False) and sys.stderr.isatty():
        context.tell("looking; the package index may take a few seconds …")
    found = context.plugins.diagnose(settings.home, settings, mend=mend)
    bad = [finding for finding in found if finding.state == "error" and not finding.mended]
    document = {"well": not bad, "findings": [_document(finding) for finding in found]}
    context.answer(document, _text(found, bad))
    return 3 if bad else 0


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "subject": finding.subject,
        "state": finding.state,
        "text": finding.text,
        "hint": finding.hint,
        "mended": finding.mended,
    }


def _text(found: Sequence[Finding], bad: Sequence[Finding]) -> str:
    rows = []
    for finding in found:
        state = "mended" if finding.mended else _SHOWN[finding.state]
        rows.append((finding.subject, state, visible(finding.text)))
        if finding.hint and not finding.mended:
            rows.append(("", "", f"  hint: {visible(finding.hint)}"))
    warned = sum(finding.state == "warning" and not finding.mended for finding in found)
    mended = sum(finding.mended for finding in found)
    counts = [(len(bad), "in the way"), (warned, "to know of"), (mended, "mended")]
    last = ", ".join(f"{number} {what}" for number, what in counts if number)
    return f"{table(rows)}\n\n{last or 'all is well'}"
