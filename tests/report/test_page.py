"""`coopery run --report` and `coopery report`: what the page says, and what it never lets in."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from coopery.testing import Project
from coopery_report.page import MOST_FAILURES, MOST_ROWS, page
from coopery_report.timeline import MOST_ROWS as MOST_BARS
from coopery_report.timeline import timeline

from .conftest import SCRIPT, make_record, make_step, span

EMPTY = {"meta", "link", "input", "path", "rect"}


class Reader(HTMLParser):
    """Elements with their attributes and texts; every one must be closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def texts_of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def test_page_of_a_run_that_fails_in_part(failing: Project) -> None:
    assert failing.coopery("run", "--report", "build/run.html").exit_code == 1
    text = failing.read("build/run.html")
    found = Reader(text)
    assert found.texts_of("title")[0].startswith("project/recipe.toml: failed (")
    assert SCRIPT in found.texts_of("pre")
    rows = [row for row in found.all("tr") if "id" in row]
    assert [row["data-state"] for row in rows] == ["succeeded", "succeeded", "failed", "skipped"]
    titles = found.texts_of("title")
    assert "fit@fold=1: failed" in titles and "score: skipped" in titles
    assert any(re.fullmatch(r"prep: succeeded, \S+ from \S+", title) for title in titles)
    made = failing.coopery("report")
    assert made.exit_code == 0 and made.stdout == text


def test_page_of_a_run_by_its_id_and_of_none(failing: Project) -> None:
    assert failing.coopery("report").slugs == ("no-runs",)
    failing.coopery("run")
    failing.coopery("run", "prep")
    run = failing.coopery("show", "--json").json["run"]
    answer = failing.coopery("report", run, "-o", "page.html")
    assert (answer.exit_code, answer.stdout) == (0, "")
    text = failing.read("page.html")
    assert run in text and "fit@fold" not in text and "Nothing was performed" in text
    assert failing.coopery("report", "19990101").slugs == ("unknown-run",)
    assert "did you mean 'html'" in failing.coopery("report", "--format", "htm").stderr


def test_nothing_is_loaded_and_only_its_own_script_may_run() -> None:
    text = page(make_record([make_step("a")]))
    found = Reader(text)
    for _, attributes in found.elements:
        assert not {"src", "style", "srcset", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#")[0] == "#" or attributes["href"] == "data:,"
    assert "url(" not in text.replace("url(#tip)", "") and "@import" not in text
    (policy,) = (m["content"] or "" for m in found.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_nothing_that_a_run_says_becomes_markup(tmp_path: Path) -> None:
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\x00\u202e\n</pre>"
    log = tmp_path / "log"
    log.write_text(evil)
    step = make_step(
        evil,
        state="failed",
        kind=evil,
        key=evil,
        command=evil,
        log=str(log),
        reason={"code": evil, "text": evil},
        problems=[{"slug": evil, "message": evil}],
        facts={"exit_code": evil},
        **span(0, 1),
    )
    plain = Reader(page(make_record([make_step("a", state="failed", command="b", **span(0, 1))])))
    text = page(
        make_record(
            [step],
            run=evil,
            recipe=f"/{evil.replace('/', '')}\udcff/x",
            runtime=evil,
            source={"commit": evil, "dirty": True},
        )
    )
    text.encode("utf-8", "replace")
    found = Reader(text)
    allowed = {tag for tag, _ in plain.elements} | {"p"}
    assert {tag for tag, _ in found.elements} <= allowed
    assert len(found.all("script")) == 1
    assert "\x00" not in text and "\u202e" not in text


def test_a_run_without_steps_and_one_that_was_killed() -> None:
    Reader(page(make_record([])))
    steps = [make_step("a", state="cancelled", started=span(3, 4)["started"])]
    record = make_record(steps, state="killed", ended=None)
    del record["exit_code"]
    found = Reader(page(record))
    assert found.texts_of("title")[0].startswith("iris/recipe.toml: killed (")
    assert any("a: cancelled" in title for title in found.texts_of("title"))


def test_steps_of_one_row_each_or_in_lanes() -> None:
    steps = [make_step(f"t{n}", **span(n, n + 2)) for n in range(MOST_BARS)]
    chart = timeline(make_record(steps), {})
    assert chart.count("<rect ") == MOST_BARS and ">t59</text>" in chart
    steps.append(make_step("last", state="failed", **span(50, 55)))
    chart = timeline(make_record(steps), {"last": "#s60"})
    labels = re.findall(r'class="end">([^<]*)<', chart)
    assert labels == ["1", "2", "3"]
    assert '<a href="#s60" tabindex="-1"><g><title>last: failed, 5.00s from' in chart


def test_ten_thousand_steps_make_a_page_of_bounded_size(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 100_000)
    problems = [{"slug": "task-failed", "message": "exit code 1 " * 10_000}]
    steps = [
        make_step(
            f"t{n}",
            *([f"t{n - 1}"] if n else []),
            state="failed" if n % 10 == 3 else "succeeded",
            cached=n % 10 == 7,
            log=str(log),
            problems=problems,
            reason={"code": "new", "text": "long " * 1_000},
            **(span(n / 100, n / 100 + 0.5) if n % 10 != 7 else {}),
        )
        for n in range(10_000)
    ]
    text = page(make_record(steps, exit_code=1))
    found = Reader(text)
    assert len(text) < 4_000_000
    rows = [row["data-state"] for row in found.all("tr") if "id" in row]
    assert len(rows) == MOST_ROWS and rows.count("failed") == 1_000
    assert f"{10_000 - MOST_ROWS} of 10000 steps are left out" in text
    assert len(found.all("article")) == MOST_FAILURES
    assert f"{1_000 - MOST_FAILURES} more" in text
    assert "too many to be drawn" in text


def test_words_can_be_read_on_their_grounds() -> None:
    """Contrast as WCAG 2 has it (1.4.3 for text, 1.4.11 for marks), in light and dark."""
    from coopery_report.looks import LOOKS

    for look in LOOKS.values():
        for (fill, stroke), ink in ((look.light, "#1b1b1b"), (look.dark, "#ededed")):
            assert contrast(fill, ink) >= 7, look.word
            assert contrast(fill, stroke) >= 3, look.word
    for ground, texts in (
        ("#ffffff", ("#1b1b1b", "#565656", "#0b57a4")),
        ("#f4f4f4", ("#1b1b1b", "#565656", "#0b57a4")),
        ("#181818", ("#ededed", "#b4b4b4", "#8cc1ff")),
        ("#242424", ("#ededed", "#b4b4b4", "#8cc1ff")),
    ):
        for colour in texts:
            assert contrast(ground, colour) >= 4.5
            assert colour in page(make_record([]))


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' relative luminance."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
