"""`coopery run --junit`, and files that cannot be written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

from coopery.testing import Project
from coopery_report.junit import MOST_LOGS, junit

from .conftest import SCRIPT, make_record, make_step, span

# What the schemas of Jenkins and Ant both allow.
ALLOWED = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
        {"properties", "testcase"},
    ),
    "properties": (set[str](), {"property"}),
    "property": ({"name", "value"}, set[str]()),
    "testcase": ({"classname", "name", "time"}, {"failure", "skipped", "system-out"}),
    "failure": ({"message", "type"}, set[str]()),
    "skipped": ({"message"}, set[str]()),
    "system-out": (set[str](), set[str]()),
}


def read(text: str) -> ElementTree.Element:
    """The document's root, each element and attribute of which CI systems know."""
    root = ElementTree.fromstring(text.encode("utf-8"))
    for element in root.iter():
        attributes, children = ALLOWED[element.tag]
        assert set(element.keys()) <= attributes
        assert {child.tag for child in element} <= children
        assert re.fullmatch(r"[0-9]+\.[0-9]{3}", element.get("time", "0.000"))
    suite = root.find("testsuite")
    assert suite is not None
    for tag, name in (("testcase", "tests"), ("failure", "failures"), ("skipped", "skipped")):
        assert suite.get(name) == str(len(list(root.iter(tag))))
    return root


def cases(root: ElementTree.Element) -> dict[str, ElementTree.Element]:
    return {case.get("name", ""): case for case in root.iter("testcase")}


def test_of_a_run_that_fails_in_part(failing: Project) -> None:
    assert failing.coopery("run", "--junit", "build/run.xml").exit_code == 1
    root = read(failing.read("build/run.xml"))
    found = cases(root)
    assert list(found) == ["prep", "fit@fold=0", "fit@fold=1", "score"]
    assert len(found["prep"]) == 0 and float(found["prep"].get("time", 0)) > 0
    failure = found["fit@fold=1"].find("failure")
    assert failure is not None and failure.get("type") == "task-failed"
    assert "exit code 3" in failure.get("message", "")
    assert f"the log ends:\n{SCRIPT}\n" in (failure.text or "")
    skipped = found["score"].find("skipped")
    assert skipped is not None and skipped.get("message") == "fit@fold=1 failed"
    values = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert values["exit_code"] == "1" and values["recipe"] == str(failing.root / "recipe.toml")
    suite = root.find("testsuite")
    assert suite is not None and suite.get("name") == "project/recipe.toml"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))

    again = failing.coopery("run", "--junit", "build/run.xml")
    assert again.exit_code == 1
    found = cases(read(failing.read("build/run.xml")))
    assert (found["prep"].findtext("system-out") or "").startswith("cached: made by run ")
    made = failing.coopery("report", "--format", "junit")
    assert made.stdout == failing.read("build/run.xml")


def test_of_a_run_that_is_interrupted(project: Project) -> None:
    project.write(
        "recipe.toml",
        '[task.long]\ncommand = "echo up > {started}; sleep 60"\n'.replace(
            "{started}", str(project.root / "started")
        ),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "coopery", "run", "--junit", "run.xml"],
        cwd=project.root,
        env={**os.environ, "COOPERY_HOME": str(project.home)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not (project.root / "started").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    skipped = cases(read(project.read("run.xml")))["long"].find("skipped")
    assert skipped is not None and skipped.get("message", "").startswith("cancelled")


def test_characters_that_xml_forbids_are_replaced(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\x00\x07\xff\xfe ]]> <a> &#0; \x1b[1mbold\x1b[0m \xef\xbf\xbf\n")
    problem = {"slug": "task-failed", "message": "bad \x00 \ud800 \ufffe ]]>\nand more"}
    failed = make_step("a", state="failed", log=str(log), problems=[problem])
    root = read(junit(make_record([failed], recipe="/work/p\udcff/recipe.toml")))
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message") == "bad \ufffd \ufffd \ufffd ]]>"
    assert "\\x00\\x07\ufffd\ufffd ]]> <a> &#0; bold \\uffff" in (failure.text or "")


def test_times_are_seconds_and_logs_are_cut(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(10_000)))
    steps = [make_step("a", **span(1, 4.25)), make_step("b", state="cancelled")]
    steps += [make_step(f"f{n}", state="failed", log=str(log)) for n in range(MOST_LOGS + 1)]
    found = cases(read(junit(make_record(steps))))
    assert found["a"].get("time") == "3.250" and found["b"].get("time") == "0.000"
    text = found["f0"].findtext("failure") or ""
    assert "…\nline 9960\n" in text and "\nline 9999\n" in text
    assert "line" not in (found[f"f{MOST_LOGS}"].findtext("failure") or "")


def test_a_file_that_cannot_be_written_is_found_before_anything_runs(failing: Project) -> None:
    failing.write("file", "")
    for name in ("file/run.xml", "."):
        for flag in ("--junit", "--report"):
            answer = failing.coopery("run", flag, name)
            assert (answer.exit_code, answer.slugs) == (2, ("not-writable",)), answer.stderr
            assert flag in answer.stderr and name in answer.stderr
    answer = failing.coopery("run", "--junit", "x", "--report", "x")
    assert (answer.exit_code, answer.slugs) == (2, ("bad-command-line",))
    answer = failing.coopery("run", "--dry-run", "--report", "x")
    assert (answer.exit_code, answer.slugs) == (2, ("bad-command-line",))
    assert failing.coopery("run", "--dry-run", env={"COOPERY_REPORT": "x"}).exit_code == 0
    assert not (failing.root / "build").exists() and not (failing.root / "x").exists()
    assert failing.coopery("show").slugs == ("no-runs",)


def test_a_run_loses_nothing_when_the_file_cannot_be_written_at_its_end(project: Project) -> None:
    blocked = project.root / "reports"
    project.write(
        "recipe.toml",
        f'[task.a]\ncommand = "exit {{params.code}}"\nparams.code = 0\n'
        f'[task.block]\nalways = true\ncommand = "touch {blocked}"\n',
    )
    answer = project.coopery("run", "--json", "--junit", "reports/run.xml", "--report", "page.html")
    assert (answer.exit_code, answer.slugs) == (3, ("not-writable",))
    assert {step["state"] for step in answer.json["steps"]} == {"succeeded"}
    assert "2 done in" in answer.stderr
    assert project.read("page.html").endswith("</html>\n")
    assert project.coopery("show").exit_code == 0
    blocked.unlink()
    answer = project.coopery("run", "--set", "a.code=4", "--junit", "reports/run.xml")
    assert (answer.exit_code, answer.slugs) == (1, ("not-writable",))


def test_what_is_no_file_is_written_to_and_stays(failing: Project) -> None:
    answer = failing.coopery("run", "--junit", "/dev/stderr")
    assert answer.exit_code == 1 and "</testsuites>" in answer.stderr
    assert Path("/dev/stderr").exists()
    (failing.root / "link.xml").symlink_to("real.xml")
    failing.coopery("run", "--junit", "link.xml")
    assert (failing.root / "link.xml").is_symlink()
    read(failing.read("real.xml"))
