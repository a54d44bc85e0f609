"""The page in a real browser. Opt-in: where there is Chromium, and playwright beside pytest."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coopery_report.page import page

from .conftest import make_record, make_step, span

EVIL = "<script>document.title = 'gone'</script><img src='http://127.0.0.1:9/x'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        pytest.skip("chromium is not installed")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def write(folder: Path) -> Path:
    log = folder / "log"
    log.write_text(EVIL)
    bad = {"slug": "task-failed", "message": f"exit code 3 {EVIL} [task-failed]"}
    steps = [
        make_step("prep", **span(0, 2)),
        *(make_step(f"fit@fold={n}", "prep", **span(2, 2 + n)) for n in (10, 9, 2)),
        make_step("bad", "prep", state="failed", log=str(log), problems=[bad], **span(2, 3)),
        make_step("score", "bad", state="skipped"),
    ]
    file = folder / "page.html"
    file.write_text(page(make_record(steps, exit_code=1)), "utf-8")
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_asks_for_nothing_and_runs_nothing_of_a_task(
    browser: Any, tmp_path: Path, scheme: str
) -> None:
    file = write(tmp_path)
    opened = browser.new_page(color_scheme=scheme)
    asked: list[str] = []
    said: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(file.as_uri())
    assert opened.inner_text("pre.log") == EVIL
    assert opened.title().startswith("iris/recipe.toml: failed")
    assert opened.locator("script").count() == 1 and opened.locator("img").count() == 0
    # The style is let through, and is the one for these colours.
    ground = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(24, 24, 24)")
    assert (asked, said) == ([file.as_uri()], [])
    # Whatever else came in would not run either.
    opened.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'document.title = 1'}))"
    )
    assert opened.title() != "1" and "Content Security Policy" in said[0]
    opened.close()


def test_filter_and_sort(browser: Any, tmp_path: Path) -> None:
    opened = browser.new_page()
    opened.goto(write(tmp_path).as_uri())

    def shown() -> list[str]:
        found: list[str] = opened.locator("tbody tr:visible td:first-child").all_inner_texts()
        return found

    assert len(shown()) == 6 and opened.inner_text("#count") == "6 of 6"
    opened.fill("#words", "FIT 11")
    assert shown() == []
    opened.fill("#words", "FIT fold=2")
    assert shown() == ["fit@fold=2"] and opened.inner_text("#count") == "1 of 6"
    opened.fill("#words", "")
    opened.select_option("#state", "skipped")
    assert shown() == ["score"]
    # A link from the graph leads to its row though it was filtered away.
    opened.click(".node a[href='#s4'] text")
    assert "bad" in shown() and opened.input_value("#state") == ""

    opened.focus("th:has-text('Took') button")
    opened.keyboard.press("Enter")
    assert shown() == ["score", "bad", "prep", "fit@fold=2", "fit@fold=9", "fit@fold=10"]
    opened.keyboard.press("Enter")
    assert shown()[0] == "fit@fold=10"
    assert opened.get_attribute("th:has-text('Took')", "aria-sort") == "descending"
    opened.click("th:has-text('Step') button")
    assert shown() == ["bad", "fit@fold=2", "fit@fold=9", "fit@fold=10", "prep", "score"]
    assert opened.locator("th[aria-sort]").all_inner_texts() == ["Step"]
    opened.close()


def test_without_javascript_all_is_there(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(write(tmp_path).as_uri())
    assert opened.locator("tbody tr:visible").count() == 6
    assert not opened.is_visible("#filter") and opened.locator("th button").count() == 0
    opened.click(".node a[href='#s5'] text")
    assert opened.url.endswith("#s5")
    context.close()
