"""Entry points found without `importlib.metadata`: the same ones, whatever the path holds."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterable
from importlib import invalidate_caches, metadata
from pathlib import Path

import pytest

from coopery import discovery

GROUP = "coopery"


def distribution(folder: Path, name: str, lines: str | None) -> None:
    """A distribution's metadata in `folder`, with these lines in `entry_points.txt`."""
    info = folder / name
    info.mkdir(parents=True)
    title = name.partition("-")[0]
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {title}\nVersion: 1\n", "utf-8")
    if lines is not None:
        (info / "entry_points.txt").write_text(lines, "utf-8")


def both() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What is found here, and what the standard library finds."""
    invalidate_caches()
    theirs = [(entry.name, entry.value) for entry in metadata.entry_points(group=GROUP)]
    return sorted(discovery.entry_points(GROUP)), sorted(theirs)


def searched(monkeypatch: pytest.MonkeyPatch, paths: Iterable[Path | str]) -> None:
    monkeypatch.setattr(sys, "path", [str(path) for path in paths])


def test_finds_what_is_installed_here() -> None:
    ours, theirs = both()
    assert ours == theirs
    assert ("toml", "coopery_toml") in ours


def test_reads_only_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "[console_scripts]\nx = x:main\n\n# [coopery]\n[coopery]\n# no = no\na = pkg.mod\n"
        "b=pkg : Thing [extra]\n\n[other]\nc = d\n"
    )
    distribution(tmp_path, "One-1.dist-info", text)
    distribution(tmp_path, "two-1.egg-info", "[coopery]\nt = two\n")
    distribution(tmp_path, "none-1.dist-info", None)
    (tmp_path / "file.egg-info").write_text("Name: file\n", "utf-8")
    searched(monkeypatch, [tmp_path, tmp_path / "absent"])
    ours, theirs = both()
    assert ours == theirs == [("a", "pkg.mod"), ("b", "pkg : Thing [extra]"), ("t", "two")]


def test_the_first_of_a_name_on_the_path_hides_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path / "first", "My.Plugin-2.dist-info", "[other]\nx = y\n")
    distribution(tmp_path / "second", "my_plugin-1.dist-info", "[coopery]\nold = old\n")
    distribution(tmp_path / "second", "kept-1.dist-info", "[coopery]\nkept = kept\n")
    searched(monkeypatch, [tmp_path / "first", tmp_path / "second"])
    ours, theirs = both()
    assert ours == theirs == [("kept", "kept")]


def test_the_working_folder_is_searched_where_the_path_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "here-1.dist-info", "[coopery]\nhere = here\n")
    monkeypatch.chdir(tmp_path)
    searched(monkeypatch, [""])
    ours, theirs = both()
    assert ours == theirs == [("here", "here")]


def test_finds_a_distribution_in_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "plugins.zip", "w") as archive:
        archive.writestr("zipped-1.dist-info/METADATA", "Name: zipped\nVersion: 1\n")
        archive.writestr("zipped-1.dist-info/entry_points.txt", "[coopery]\nz = zipped\n")
    searched(monkeypatch, [tmp_path / "plugins.zip"])
    ours, theirs = both()
    assert ours == theirs == [("z", "zipped")]


def test_asks_an_import_hook_that_brings_distributions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "hooked-1.dist-info", "[coopery]\nh = hooked\n")

    class Hook:
        @staticmethod
        def find_spec(*_: object) -> None:
            return None

        @staticmethod
        def find_distributions(_: object) -> Iterable[metadata.Distribution]:
            return [metadata.PathDistribution(tmp_path / "hooked-1.dist-info")]

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Hook])
    ours, theirs = both()
    assert ours == theirs
    assert ("h", "hooked") in ours


def test_loads_modules_and_what_is_in_them() -> None:
    import json.decoder

    assert discovery.load("json.decoder") is json.decoder
    assert discovery.load("json : decoder.JSONDecoder [extra]") is json.JSONDecoder
    with pytest.raises(AttributeError):
        discovery.load("json:absent")
    with pytest.raises(ModuleNotFoundError):
        discovery.load("no_such_module_here")


def test_starting_up_does_not_import_the_metadata_library() -> None:
    import subprocess

    code = (
        "import sys; from coopery.plugins import Plugins; Plugins.discover();"
        "print([m for m in ('importlib.metadata', 'email', 'zipfile', 'logging')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
