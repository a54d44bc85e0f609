"""What an installer's words amount to, and how much of them is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from coopery.installing import full_disk, last_words, refusal_in


def test_last_words_are_whole() -> None:
    assert last_words("") == ""
    assert last_words("one\n\ntwo\n") == "one\ntwo"
    many = "\n".join(f"line {number} of many" for number in range(100))
    told = last_words(many, lines=50, characters=60)
    assert told.splitlines() == ["line 97 of many", "line 98 of many", "line 99 of many"]
    told = last_words("word " * 200, characters=42)
    assert set(told.split()) == {"word", "…"} and len(told) <= 42


@pytest.mark.parametrize(
    "said",
    [
        "Caused by: failed to write to file `/x`: No space left on device (os error 28)",
        "OSError: [Errno 28] No space left on device: '/x'",
        "error: Disk quota exceeded (os error 122)",
    ],
)
def test_a_full_disk_by_its_words(tmp_path: Path, said: str) -> None:
    error = full_disk(f"before\n{said}\nafter\n", tmp_path)
    assert error is not None and said in str(error)
    assert error.problems[0].slug == "disk-full" and error.exit_code == 3
    assert full_disk("no matter of space\n", tmp_path / "absent") is None


def test_indexes_are_asked_one_by_one_only_where_that_can_tell() -> None:
    nothing = "No solution found: Because alpha was not found in the package registry"
    lesser = "No solution found: Because only alpha==1 is available and you require alpha>=2"
    hint = "hint: An index URL (http://h/simple/) could not be queried ({})"
    best = {"UV_INDEX_STRATEGY": "unsafe-best-match", "A": "1"}
    asked: list[Mapping[str, str]] = []

    def found(said: str, code: str = "401 Unauthorized", env: Mapping[str, str] = best) -> bool:
        def ask(environment: Mapping[str, str]) -> str:
            asked.append(environment)
            return f"{nothing}\n{hint.format(code)}"

        return refusal_in(said, env, ask) is not None

    assert found(nothing) and found(lesser) and found(nothing, "403 Forbidden")
    assert asked[0] == {"UV_INDEX_STRATEGY": "first-index", "A": "1"}
    assert not found(lesser, "403 Forbidden")
    asked.clear()
    assert not found("error: a build failed") and not found(nothing, env={"A": "1"})
    assert asked == []
