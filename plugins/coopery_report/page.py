"""A run as one HTML file that needs nothing else: no network, no font, no script but its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from html import escape
from importlib import resources
from pathlib import PurePath
from typing import Any

from coopery.errors import visible
from coopery.quantities import show_bytes, show_seconds
from coopery_report.drawing import STYLE, clipped, svg
from coopery_report.graphs import of_record
from coopery_report.looks import LOOKS, counted, state_of
from coopery_report.reading import log_end, seconds
from coopery_report.timeline import timeline

MOST_APART, MOST_NODES = 60, 400
"""Steps that are drawn each by itself; nodes beyond which no graph is drawn."""
MOST_ROWS, MOST_FAILURES = 2_000, 50
"""Steps that the table lists, and failures that are told at length."""
LONGEST, LONGEST_NAME = 300, 48
"""Characters of a text and of a name in the table."""
LONGEST_STORY = 4_000
"""Characters of what is told of a failure at length."""

COLUMNS = ("Step", "State", "Reason", "Took", "Exit", "Memory", "Key", "Kind")
_NUMBERS = {"Took", "Exit", "Memory"}


def page(record: Mapping[str, Any]) -> str:
    """The page. Whatever a task or recipe says is text on it, and never markup."""
    steps: Sequence[Mapping[str, Any]] = record["steps"]
    shown = _notable(steps)
    links = {step["step"]: f"#s{index}" for index, step in enumerate(shown)}
    recipe = PurePath(record["recipe"])
    title = f"{recipe.parent.name}/{recipe.name}"
    state = _verdict(record)
    failures = _failures(record, links)
    sections = [
        failures,
        _section("graph", "Graph", _graph(record, links)),
        _section("timeline", "Timeline", _timeline(record, links)),
        _section("steps", "Steps", _table(shown, len(steps))),
    ]
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{_text(title)}: {state} ({_text(record["run"])})</title>
<style>{_style()}</style>
</head>
<body>
<header>
<h1>{_text(title)} <span class="badge b-{_look(state)}">{state}</span></h1>
{_facts(record)}
<nav aria-label="On this page">
{'<a href="#failures">What went wrong</a>' if failures else ""}
<a href="#graph">Graph</a> <a href="#timeline">Timeline</a> <a href="#steps">Steps</a>
</nav>
</header>
<main>
{"".join(section for section in sections if section)}</main>
<script>{_script()}</script>
</body>
</html>
"""


@cache
def _style() -> str:
    return STYLE + resources.files(__package__).joinpath("page.css").read_text("utf-8")


@cache
def _script() -> str:
    return resources.files(__package__).joinpath("page.js").read_text("utf-8")


@cache
def _policy() -> str:
    """Nothing is loaded, sent or framed; the page's own style and script run, and no others."""

    def source(text: str) -> str:
        digest = hashlib.sha256(text.encode("utf-8")).digest()
        return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"

    return (
        f"default-src 'none'; style-src {source(_style())}; script-src {source(_script())}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _text(text: object) -> str:
    """Any text as HTML."""
    return escape(visible(str(text)))


def _section(name: str, title: str, content: str) -> str:
    heading = f'<h2 id="h-{name}">{title}</h2>'
    return f'<section id="{name}" aria-labelledby="h-{name}">{heading}\n{content}</section>\n'


def _verdict(record: Mapping[str, Any]) -> str:
    """A run's state in a word: that of the record, or of one that ended, how."""
    if record["state"] != "ended":
        return str(record["state"])
    return "succeeded" if record["exit_code"] == 0 else "failed"


def _look(state: str) -> str:
    return state if state in LOOKS else "cancelled"


def _notable(steps: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The steps in their order; of too many, those that most want to be seen."""
    if len(steps) <= MOST_ROWS:
        return steps
    ranks = {word: rank for rank, word in enumerate(LOOKS)}
    order = sorted(range(len(steps)), key=lambda i: ranks.get(state_of(steps[i]), len(ranks)))
    return [steps[index] for index in sorted(order[:MOST_ROWS])]


def _facts(record: Mapping[str, Any]) -> str:
    source = record.get("source")
    took = seconds(record)
    counts = " ".join(
        f'<span class="badge b-{_look(word)}">{count} {_text(word)}</span>'
        for word, count in counted(state_of(step) for step in record["steps"])
    )
    commit = ""
    if source:
        dirty = " with changes that are not committed" if source["dirty"] else ""
        commit = f"<code>{_text(source['commit'][:12])}</code>{dirty}"
    facts = {
        "Run": f"<code>{_text(record['run'])}</code>",
        "Recipe": f"<code>{_text(record['recipe'])}</code>",
        "Commit": commit,
        "Runtime": _text(record["runtime"]),
        "Started": _moment(record.get("started")),
        "Took": show_seconds(took) if took is not None else "",
        "Exit code": _text(record.get("exit_code", "")),
        "Steps": counts or "none",
    }
    rows = "\n".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in facts.items() if v)
    return f"<dl>\n{rows}\n</dl>"


def _moment(text: str | None) -> str:
    """A time, in UTC as the record has it: a report is read elsewhere than where it was made."""
    if not text:
        return ""
    shown = datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f'<time datetime="{_text(text)}">{shown}</time>'


def _failures(record: Mapping[str, Any], links: Mapping[str, str]) -> str:
    failed = [
        step
        for step in record["steps"]
        if step["state"] == "failed" or (step["state"] == "cancelled" and step["problems"])
    ]
    if not failed:
        return ""
    parts = [_failure(step, links) for step in failed[:MOST_FAILURES]]
    if len(failed) > MOST_FAILURES:
        parts.append(f"<p>{len(failed) - MOST_FAILURES} more are in the table of steps.</p>")
    return _section("failures", "What went wrong", "\n".join(parts))


def _failure(step: Mapping[str, Any], links: Mapping[str, str]) -> str:
    name = _text(step["step"])
    link = links.get(step["step"])
    heading = f'<a href="{link}">{name}</a>' if link else name
    told = "\n".join(problem["message"] for problem in step["problems"])
    parts = [f"<h3>{heading}</h3>", f'<pre class="said">{_text(_cut(told))}</pre>']
    command = str(step.get("command") or "")
    if command not in told:
        parts.append(f"<p>Command:</p><pre>{_text(_cut(command))}</pre>")
    end = log_end(step)
    if end:
        parts.append(
            f'<p>The log ends:</p><pre class="log" tabindex="0" role="region"'
            f' aria-label="The end of the log of {name}">{_text(end)}</pre>'
        )
    if step["log"]:
        parts.append(f"<p>The whole log: <code>{_text(step['log'])}</code></p>")
    return f"<article>{''.join(parts)}</article>"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_STORY else f"{text[:LONGEST_STORY]}…"


def _graph(record: Mapping[str, Any], links: Mapping[str, str]) -> str:
    graph = of_record(record, MOST_APART, links)
    if len(graph.nodes) > MOST_NODES:
        return (
            f"<p>{len(graph.nodes)} nodes are too many to be drawn here. "
            "<code>coopery graph --format svg</code> draws them.</p>"
        )
    note = "<p>Instances of a task are drawn as one.</p>"
    note = note if any(node.count > 1 for node in graph.nodes) else ""
    return note + _scrolled("Graph of the steps", svg(graph, "Graph of the steps", alone=False))


def _timeline(record: Mapping[str, Any], links: Mapping[str, str]) -> str:
    chart = timeline(record, links)
    if not chart:
        return "<p>Nothing was performed.</p>"
    return _scrolled("Timeline of the steps", chart)


def _scrolled(label: str, content: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{content}</div>'


def _table(steps: Sequence[Mapping[str, Any]], total: int) -> str:
    words = [word for word, _ in counted(state_of(step) for step in steps)]
    choices = "".join(f"<option>{word}</option>" for word in words)
    heads = "".join(f'<th scope="col"{_numeric(name)}>{name}</th>' for name in COLUMNS)
    rows = "\n".join(_row(step, index) for index, step in enumerate(steps))
    left_out = (
        f"<p>{total - len(steps)} of {total} steps are left out here; "
        "<code>coopery show</code> lists all.</p>"
        if total > len(steps)
        else ""
    )
    return f"""\
{left_out}<form id="filter" hidden>
<label>Filter <input type="search" id="words" placeholder="step, reason, key"></label>
<label>State <select id="state"><option value="">all</option>{choices}</select></label>
<output id="count" for="words state"></output>
</form>
<div class="scroll" tabindex="0" role="region" aria-label="Table of the steps">
<table id="table">
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
"""


def _numeric(column: str) -> str:
    return ' class="number"' if column in _NUMBERS else ""


def _row(step: Mapping[str, Any], index: int) -> str:
    word, facts, took = state_of(step), step["facts"], seconds(step)
    exit_code, memory, key = facts.get("exit_code"), facts.get("peak_memory"), step["key"]
    reason = step["reason"]["text"] if step["reason"] else ""
    if step["problems"]:
        reason = step["problems"][0]["message"].partition("\n")[0]
    name = step["step"]
    cells: Iterable[tuple[str, object]] = (
        (f'<code title="{_text(name)}">{_text(clipped(name, LONGEST_NAME))}</code>', ""),
        (f'<span class="badge b-{_look(word)}">{_text(word)}</span>', ""),
        (_text(clipped(reason, LONGEST)), ""),
        ("" if took is None else show_seconds(took), -1 if took is None else took),
        ("" if exit_code is None else _text(exit_code), -1 if exit_code is None else exit_code),
        ("" if memory is None else show_bytes(memory), -1 if memory is None else memory),
        (f'<code title="{_text(key)}">{_text(key[:12])}</code>' if key else "", ""),
        (_text(step["kind"]), ""),
    )
    columns = []
    for column, (content, value) in zip(COLUMNS, cells, strict=True):
        sorted_by = f' data-v="{_text(value)}"' if column in _NUMBERS else ""
        columns.append(f"<td{_numeric(column)}{sorted_by}>{content}</td>")
    return f'<tr id="s{index}" data-state="{_text(word)}">{"".join(columns)}</tr>'
