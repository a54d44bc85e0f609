"""A run as JUnit XML, as CI systems read it: a test case per step.

There is no one standard. This keeps to what the schemas of Jenkins' xUnit plugin and of Ant have in
common, and GitLab and GitHub's actions read: which step was recalled stands in `system-out`, not in
properties of a case, and what the machine did not allow is a failure as any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from coopery.records import timestamp
from coopery_report.reading import log_end, seconds

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_LOGS = 200
"""Failures beyond come without their logs' ends, which are long."""
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(record: Mapping[str, Any]) -> str:
    """The document. Steps that did not come to run, or not to an end, are skipped tests."""
    from xml.etree import ElementTree

    recipe = PurePath(record["recipe"])
    name = f"{recipe.parent.name}/{recipe.name}"
    cases = [
        _Case(step, recipe.parent.name.replace(".", "_") or "recipe") for step in record["steps"]
    ]
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.kind == "failure" for case in cases)),
        "errors": "0",
    }
    took = {"time": _seconds(seconds(record))}
    root = ElementTree.Element("testsuites", {"name": "coopery", **counts, **took})
    suite = _add(
        root,
        "testsuite",
        name=name,
        **counts,
        skipped=str(sum(case.kind == "skipped" for case in cases)),
        **took,
        timestamp=(record.get("started") or timestamp(0) or "")[:19],
    )
    properties = _add(suite, "properties")
    for key in ("run", "recipe", "runtime", "state", "exit_code"):
        if record.get(key) is not None:
            _add(properties, "property", name=key, value=str(record[key]))
    if record.get("source"):
        _add(properties, "property", name="commit", value=record["source"]["commit"])
        _add(properties, "property", name="dirty", value=str(record["source"]["dirty"]).lower())
    logs = 0
    for case in cases:
        logs += case.kind == "failure"
        case.add_to(suite, with_log=logs <= MOST_LOGS)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


class _Case:
    """One step, and what it is to a test report."""

    def __init__(self, step: Mapping[str, Any], group: str) -> None:
        self.step = step
        self.group = group
        match step["state"]:
            case "succeeded":
                self.kind = ""
            case "failed":
                self.kind = "failure"
            case _:
                self.kind = "skipped"

    def add_to(self, suite: Element, *, with_log: bool) -> None:
        step = self.step
        case = _add(
            suite,
            "testcase",
            classname=f"{self.group}.{step['kind']}",
            name=step["step"],
            time=_seconds(seconds(step)),
        )
        problems = step["problems"]
        match self.kind:
            case "failure":
                first = problems[0] if problems else {"slug": "failed", "message": "failed"}
                message = first["message"].partition("\n")[0]
                element = _add(case, "failure", message=message, type=first["slug"])
                told = [problem["message"] for problem in problems]
                end = log_end(step) if with_log else ""
                if end:
                    told.append(f"the log ends:\n{end}")
                if step["log"]:
                    told.append(f"the whole log: {step['log']}")
                element.text = _allowed("\n\n".join(told))
            case "skipped":
                reason = step["reason"]["text"] if step["reason"] else ""
                said = reason if step["state"] == "skipped" and reason else step["state"]
                if problems:
                    said += f": {problems[0]['message']}"
                _add(case, "skipped", message=said)
        if step["cached"]:
            reason = step["reason"]["text"] if step["reason"] else ""
            _add(case, "system-out").text = _allowed(f"cached: {reason}")


def _add(parent: Element, tag: str, **attributes: str) -> Element:
    from xml.etree.ElementTree import SubElement

    return SubElement(parent, tag, {key: _allowed(value) for key, value in attributes.items()})


def _allowed(text: str) -> str:
    """The text without what XML 1.0 (section 2.2) forbids."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def _seconds(value: float | None) -> str:
    return f"{value or 0:.3f}"
