"""When a display moves, when there are colours, and how much is told."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest

from coopery.errors import RecipeError
from coopery.options import Settings, add_flags, read_settings
from coopery_events import EventOptions
from coopery_events.modes import Volume, has_color, is_live, volume_of


class Stream(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "environ", "live", "color"),
    [
        (True, {"TERM": "xterm"}, True, True),
        (False, {"TERM": "xterm"}, False, False),
        (True, {"TERM": "dumb"}, False, False),
        (True, {"TERM": ""}, False, False),
        (True, {}, False, False),
        (True, {"TERM": "xterm", "CI": "true"}, False, True),
        (True, {"TERM": "xterm", "CI": "1"}, False, True),
        (True, {"TERM": "xterm", "CI": "false"}, True, True),
        (True, {"TERM": "xterm", "CI": ""}, True, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True, True),
        (False, {"FORCE_COLOR": "1"}, False, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        (True, {"TERM": "dumb", "FORCE_COLOR": "1"}, False, True),
    ],
)
def test_what_a_stream_is_for(
    terminal: bool, environ: dict[str, str], live: bool, color: bool
) -> None:
    stream = Stream(terminal)
    assert is_live(stream, environ) is live
    assert has_color(stream, "auto", environ) is color
    # The option has the last word.
    assert has_color(stream, "always", environ)
    assert not has_color(stream, "never", environ)


def settings(folder: Path, flags: list[str], **environ: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_flags(parser, (EventOptions,))
    return read_settings((EventOptions,), parser.parse_args(flags), folder, environ)


def volume(given: Settings) -> Volume:
    return volume_of(given, given.get(EventOptions))


def test_volume(tmp_path: Path) -> None:
    assert volume(settings(tmp_path, [])) is Volume.NORMAL
    assert volume(settings(tmp_path, ["-q"])) is Volume.QUIET
    assert volume(settings(tmp_path, ["--verbose"])) is Volume.VERBOSE
    # A flag wins over a variable, a variable over the project's file.
    assert volume(settings(tmp_path, ["-v"], COOPERY_QUIET="1")) is Volume.VERBOSE
    (tmp_path / "pyproject.toml").write_text("[tool.coopery]\nverbose = true\n")
    assert volume(settings(tmp_path, [], COOPERY_QUIET="1")) is Volume.QUIET


@pytest.mark.parametrize(
    ("flags", "environ"),
    [(["-q", "-v"], {}), ([], {"COOPERY_QUIET": "1", "COOPERY_VERBOSE": "1"})],
)
def test_quiet_and_verbose_contradict_each_other(
    tmp_path: Path, flags: list[str], environ: dict[str, str]
) -> None:
    with pytest.raises(RecipeError) as caught:
        volume(settings(tmp_path, flags, **environ))
    assert [p.slug for p in caught.value.problems] == ["contradicting-options"]


def test_color_is_one_of_three(tmp_path: Path) -> None:
    assert settings(tmp_path, [], COOPERY_COLOR="never").get(EventOptions).color == "never"
    (tmp_path / "pyproject.toml").write_text("[tool.coopery]\ncolor = 'always'\n")
    assert settings(tmp_path, []).get(EventOptions).color == "always"
    with pytest.raises(RecipeError, match="COOPERY_COLOR='blue': expected one of auto, always"):
        settings(tmp_path, [], COOPERY_COLOR="blue")
    (tmp_path / "pyproject.toml").write_text("[tool.coopery]\ncolor = 'blue'\n")
    with pytest.raises(RecipeError, match="color"):
        settings(tmp_path, [])
