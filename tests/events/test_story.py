"""What stands on a terminal, and in a pipe, while events come in."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

import coopery_events
from coopery.errors import problem
from coopery.options import Settings, read_settings
from coopery.steps import Event, Outcome, Reason, State
from coopery_events import EventOptions
from coopery_events.output import Output

from .conftest import Opener, Terminal, terminal_env

MANY = 10_000


@pytest.fixture(autouse=True)
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """These tests' environment is that of a person, whatever runs them."""
    for name in [name for name in os.environ if name not in terminal_env({})]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(coopery_events, "_story", None)
    yield
    story = coopery_events._story
    if story is not None:  # a test that failed leaves no thread to the next
        story.tell([Event(kind="run-ended", time=time.time())])


def settings(environ: Mapping[str, str] | None = None) -> Settings:
    return read_settings((EventOptions,), None, Path("/"), environ or {})


class Teller:
    """Tells events of a run of `total` steps to the plugin, as the engine does."""

    def __init__(self, total: int, environ: Mapping[str, str] | None = None) -> None:
        self._settings = settings(environ)
        self._total = total
        self._done = 0
        self("run-started", total=total)

    def __call__(self, kind: str, step: str = "", **values: object) -> None:
        event = Event(kind=kind, time=time.time(), step=step, **values)  # type: ignore[arg-type]
        coopery_events.observe([event], self._settings)

    def ended(self, step: str, state: State = State.SUCCEEDED, **values: object) -> None:
        self._done += 1
        outcome = Outcome(step=step, state=state, **values)  # type: ignore[arg-type]
        again = ("coopery", "run", step) if state is State.FAILED else ()
        self("ended", step, outcome=outcome, done=self._done, total=self._total, again=again)

    def performed(self, step: str) -> None:
        now = time.time()
        self.ended(step, started=now - 1.5, ended=now)

    def fail(self, step: str, log: Path | None = None) -> None:
        found = problem("task-failed", "exit code 3: false")
        self.ended(step, State.FAILED, problems=(found,), log=log)

    def finish(self) -> None:
        self("run-ended")
        self("recorded", record={"run": "R1"})


def open_on(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    monkeypatch.setattr(sys, "stderr", terminal.open())


def threads() -> Sequence[str]:
    return [t.name for t in threading.enumerate() if t.name == "terminal"]


def test_live(monkeypatch: pytest.MonkeyPatch, terminal: Opener, tmp_path: Path) -> None:
    one = terminal(80, 12)
    open_on(monkeypatch, one)
    log = tmp_path / "log"
    log.write_bytes(b"starting\n10%\r\x1b[32m50%\x1b[0m")
    tell = Teller(5)
    tell("started", "fit", log=log)
    tell("waiting", "score", message="run x makes the same")
    shown = one.wait(lambda text: "2 running" not in text and "1 waiting" in text).splitlines()
    assert shown[0].split() == ["run", "fit", "0s", "50%"]
    assert shown[1].split(maxsplit=3) == ["wait", "score", "0s", "run x makes the same"]
    assert shown[2].startswith("0/5  [")
    assert one.cursor_hidden
    with log.open("a") as file:
        file.write("\r75%")
    one.wait(lambda text: "75%" in text)
    tell.ended("old", cached=True, reason=Reason(code="cached", text="made by run y"))
    tell.performed("fit")
    text = one.wait(lambda text: "2/5" in text)
    assert text.splitlines()[0] == "done     fit in 1.50s [2/5]"
    assert "1 done  1 cached" in text and "old" not in text
    tell.finish()
    told = one.wait(lambda text: "run R1" in text).splitlines()
    assert told[0] == "done     fit in 1.50s [2/5]"
    assert [line[:22] for line in told[1:]] == ["1 done, 1 cached in 0."]
    assert not one.cursor_hidden
    assert not threads()


def test_failures_stand_above_and_again_below(
    monkeypatch: pytest.MonkeyPatch, terminal: Opener, tmp_path: Path
) -> None:
    one = terminal(200, 24)
    open_on(monkeypatch, one)
    log = tmp_path / "log"
    log.write_bytes(b"ok\n\x1b[2Jboom\n")
    tell = Teller(40)
    tell("started", "a", log=log)
    tell.fail("fit@fold='1'", log)
    text = one.wait(lambda text: "run it again" in text)
    assert text.splitlines()[:7] == [
        "failed   fit@fold='1' [1/40]",
        "  the log ends:",
        "  | ok",
        "  | \\x1b[2Jboom",
        "  exit code 3: false [task-failed]",
        f"  the whole log: {log}",
        """  run it again:  coopery run 'fit@fold='"'"'1'"'"''""",
    ]
    for number in range(30):
        tell.performed(f"s{number}")
    tell.finish()
    text = one.wait(lambda text: "run R1" in text)
    assert text.splitlines()[-5:-1] == [
        "failed in this run: 1",
        "  fit@fold='1': exit code 3: false [task-failed]",
        f"    the whole log: {log}",
        """    run it again:  coopery run 'fit@fold='"'"'1'"'"''""",
    ]


def test_a_failure_in_sight_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, terminal: Opener
) -> None:
    one = terminal()
    open_on(monkeypatch, one)
    tell = Teller(2)
    tell.fail("a")
    tell.performed("b")
    tell.finish()
    assert "failed in this run" not in one.wait(lambda text: "run R1" in text)


def test_stopping_is_told_and_what_never_began_is_only_counted(
    monkeypatch: pytest.MonkeyPatch, terminal: Opener
) -> None:
    one = terminal(80, 24)
    open_on(monkeypatch, one)
    tell = Teller(100)
    tell("started", "a")
    tell("stopping")
    text = one.wait(lambda text: "stopping  1 running" in text)
    assert text.startswith("stopping: nothing more starts, and what runs gets time to end\n")
    assert "Ctrl-C again kills it" in text
    tell("killing")
    now = time.time()
    tell.ended("a", State.CANCELLED, started=now - 1, ended=now)
    for number in range(50):
        tell.ended(f"s{number}", State.CANCELLED)
        tell.ended(f"t{number}", State.SKIPPED, reason=Reason(code="skipped", text="a cancelled"))
    tell.finish()
    text = one.wait(lambda text: "run R1" in text)
    assert text.splitlines()[2:4] == ["killing: what still runs", "cancelled a in 1.00s [1/100]"]
    assert text.splitlines()[4].startswith("50 skipped, 51 cancelled in ")


def test_resized_at_any_time(monkeypatch: pytest.MonkeyPatch, terminal: Opener) -> None:
    one = terminal(100, 30)
    open_on(monkeypatch, one)
    tell = Teller(100)
    for number in range(25):
        tell("started", f"task-with-a-name@n={number}")
    one.wait(lambda text: "25 running" in text)
    assert len(one.shown) == 26
    for columns, lines in ((20, 10), (5, 3), (1, 1), (120, 40), (44, 6)):
        one.resize(columns, lines)
        deadline = time.monotonic() + 20
        while len(one.shown) < min(26, max(1, lines - 1)):
            assert time.monotonic() < deadline, one.text
            time.sleep(0.02)
    one.wait(lambda text: "… and 22 more" in text and text.splitlines()[-1].startswith("0/100"))
    tell.performed("task-with-a-name@n=3")
    tell.finish()
    one.wait(lambda text: "run R1" in text)
    assert not one.cursor_hidden


def test_a_run_that_breaks_off_gives_the_terminal_back(
    monkeypatch: pytest.MonkeyPatch, terminal: Opener
) -> None:
    one = terminal()
    open_on(monkeypatch, one)
    tell = Teller(3)
    tell("started", "a")
    one.wait(lambda text: "1 running" in text and one.cursor_hidden)
    tell("run-ended")
    assert not threads()
    one.wait(lambda text: text == "" and not one.cursor_hidden)


def test_a_display_that_breaks_leaves_plain_lines(
    monkeypatch: pytest.MonkeyPatch, terminal: Opener
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("no way")

    monkeypatch.setattr("coopery_events.display.frame", broken)
    one = terminal()
    open_on(monkeypatch, one)
    tell = Teller(3)
    tell("started", "a")
    one.wait(lambda text: "warning: the live display broke: ZeroDivisionError: no way" in text)
    tell.performed("a")
    tell.finish()
    text = one.wait(lambda text: "run R1" in text)
    assert "done     a in 1.50s [1/3]" in text
    assert not one.cursor_hidden


def test_ten_thousand_cached_steps_cost_little(
    monkeypatch: pytest.MonkeyPatch, terminal: Opener
) -> None:
    one = terminal()
    open_on(monkeypatch, one)
    outcomes = [Outcome(step=f"s{n}", state=State.SUCCEEDED, cached=True) for n in range(MANY)]
    tell = Teller(MANY)
    spent = time.process_time()
    for outcome in outcomes:
        tell("ended", outcome.step, outcome=outcome)
    # Some 0.05 s; what grows with the square of the number of steps would take minutes.
    assert time.process_time() - spent < 1
    tell.finish()
    one.wait(lambda text: f"{MANY} cached" in text)
    assert len(one.raw) < 5_000


def test_ten_thousand_running_steps_are_drawn_at_most_ten_times_a_second(
    monkeypatch: pytest.MonkeyPatch, terminal: Opener, tmp_path: Path
) -> None:
    one = terminal(80, 24)
    open_on(monkeypatch, one)
    log = tmp_path / "log"
    log.write_text("…\n")
    tell = Teller(MANY)
    for number in range(MANY):
        tell("started", f"s{number}", log=log)
    one.wait(lambda text: "… and 9979 more" in text and f"{MANY} running" in text)
    written: list[tuple[float, str]] = []
    write = Output.write

    def noted(output: Output, data: str) -> None:
        written.append((time.monotonic(), data))
        write(output, data)

    monkeypatch.setattr(Output, "write", noted)
    deadline = time.monotonic() + 60
    while len(written) < 5:
        assert time.monotonic() < deadline
        with log.open("a") as file:
            file.write(f"{time.monotonic()}\n")
        time.sleep(0.01)
    time.sleep(1.5)  # nothing changes now but the elapsed seconds
    frames = list(written)
    for (earlier, before), (later, after) in pairwise(frames):
        assert later - earlier >= 0.09
        assert after != before
    assert max(len(data) for _, data in frames) < 80 * 24 * 2
    tell.finish()


def test_many_lines_are_all_told_in_order(
    monkeypatch: pytest.MonkeyPatch, terminal: Opener
) -> None:
    one = terminal(80, 24)
    open_on(monkeypatch, one)
    tell = Teller(2_000, {"COOPERY_COLOR": "never"})
    for number in range(2_000):
        tell("started", f"s{number}")
        tell.performed(f"s{number}")
    tell.finish()
    one.wait(lambda text: "run R1" in text)
    told = [line.split()[1] for line in one.raw.decode().splitlines() if "done  " in line[:12]]
    assert told == [f"s{number}" for number in range(2_000)]


def test_color_repeats_what_words_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for when in ("never", "always"):
        tell = Teller(4, {"COOPERY_COLOR": when})
        tell("started", "a")
        tell.performed("a")
        tell.fail("b")
        tell.ended("c", State.SKIPPED, reason=Reason(code="skipped", text="b failed"))
        tell("warning", message="look out")
        texts.append(capsys.readouterr().err)
    plain, colored = texts
    assert "\x1b" not in plain
    assert "\x1b[32mdone\x1b[0m     a in " in colored
    assert "\x1b[1;31mfailed\x1b[0m   b [2/4]" in colored
    assert "\x1b[33mwarning:\x1b[0m look out" in colored
    for code in ("\x1b[0m", "\x1b[32m", "\x1b[33m", "\x1b[1;31m"):
        colored = colored.replace(code, "")
    assert colored == plain


def test_quiet_tells_failures_only(capsys: pytest.CaptureFixture[str]) -> None:
    tell = Teller(2, {"COOPERY_QUIET": "1"})
    tell("message", message="recipe.toml: runtime local")
    tell("started", "a")
    tell.performed("a")
    tell.finish()
    assert re.fullmatch(r"1 done in \d\.\d\ds \(run R1\)\n", capsys.readouterr().err)
    tell = Teller(2, {"COOPERY_QUIET": "1"})
    tell.performed("a")
    tell.fail("b")
    tell.finish()
    told = capsys.readouterr().err
    assert told.startswith("failed   b [2/2]\n") and "1 done, 1 failed in " in told


def test_verbose_tells_of_cached_steps(capsys: pytest.CaptureFixture[str]) -> None:
    tell = Teller(1, {"COOPERY_VERBOSE": "1"})
    tell.ended("a", cached=True, reason=Reason(code="cached", text="made by run y"))
    assert capsys.readouterr().err == "cached   a [1/1]  (made by run y)\n"


def test_messages_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    tell = Teller(1)
    tell("message", message="\x1b]0;title\x07 and \x1b[2J")
    assert capsys.readouterr().err == "\\x1b]0;title\\x07 and \\x1b[2J\n"


@pytest.mark.parametrize("how", ["none", "closed", "failing"])
def test_without_a_stream_nothing_is_told_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    class Failing(io.StringIO):
        calls = 0

        def write(self, text: str) -> int:
            self.calls += 1
            raise OSError(5, "Input/output error")

    stream: io.StringIO | None = Failing() if how == "failing" else io.StringIO()
    if how == "closed" and stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", None if how == "none" else stream)
    tell = Teller(2)
    tell.performed("a")
    tell.fail("b")
    tell.finish()
    if isinstance(stream, Failing):
        assert stream.calls == 1


def test_a_terminal_that_closes_does_not_break_the_run(
    monkeypatch: pytest.MonkeyPatch, terminal: Opener
) -> None:
    one = terminal()
    open_on(monkeypatch, one)
    stream = sys.stderr
    tell = Teller(3)
    tell("started", "a")
    one.wait(lambda text: "1 running" in text)
    one.close()
    tell.performed("a")
    tell.finish()
    assert not threads()
    stream.write("into nothing\n")
    stream.close()


def test_several_threads_tell(monkeypatch: pytest.MonkeyPatch, terminal: Opener) -> None:
    one = terminal(80, 24)
    open_on(monkeypatch, one)
    tell = Teller(400)

    def work(name: str) -> None:
        for number in range(50):
            tell("started", f"{name}{number}")
            tell.performed(f"{name}{number}")

    workers = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    tell.finish()
    assert "400 done in" in one.wait(lambda text: "run R1" in text)


def test_one_run_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tell = Teller(2)
    tell.fail("a")
    tell.finish()
    tell("run-started", total=1)
    tell.performed("b")
    tell.finish()
    assert capsys.readouterr().err.splitlines()[-1].startswith("1 done in ")


def test_what_others_print_goes_above(monkeypatch: pytest.MonkeyPatch, terminal: Opener) -> None:
    one = terminal(70, 20)
    out, err = one.open(), one.open()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    tell = Teller(3)
    tell("started", "a-task-with-a-long-name")
    one.wait(lambda text: "1 running" in text)
    print("on stdout")
    print("on stderr, ", end="", file=sys.stderr)
    tell.performed("b")
    one.wait(lambda text: "done     b" in text)
    assert "on stderr" not in one.text
    print("whole", file=sys.stderr, flush=True)
    print("without end", end="")
    text = one.wait(lambda text: "whole" in text and "1/3" in text)
    above = ["on stdout", "done     b in 1.50s [1/3]", "on stderr, whole"]
    assert text.splitlines()[:3] == above
    assert text.splitlines()[3].startswith("run      a-task-with")
    tell("run-ended")
    assert (sys.stdout, sys.stderr) == (out, err)
    one.wait(lambda text: text.splitlines() == [*above, "without end"])
