"""A lock that was edited, merged or cut off is never installed from; `coopery lock` mends it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from coopery.errors import RecipeError
from coopery.options import LockPolicy
from coopery.testing import Answer, call


@pytest.fixture
def locked(bench: Any) -> Any:
    """`alpha` 1.0 for image a, kept by a lock that once was narrower; `gamma` for image b."""
    bench.image("alpha<2")
    bench.image("gamma", name="b")
    bench.lock()
    bench.image("alpha")
    bench.lock()
    return bench


def line_of(text: str, part: str, nth: int = 0) -> int:
    return [n for n, line in enumerate(text.splitlines(), 1) if part in line][nth]


EDITS: dict[str, Callable[[str], str]] = {
    "version": lambda text: text.replace("version = '1.0'", "version = '2.0'", 1),
    "name": lambda text: text.replace("name = 'alpha'", "name = 'evil'", 1),
    "hash": lambda text: text.replace("'sha256:", "'sha256:0", 1),
    "hash gone": lambda text: text.replace("    'sha256:", "    #'sha256:", 1),
    "url": lambda text: text.replace("version = '1.0'", "version = '1.0'\nurl = 'https://e/x'", 1),
    "package gone": lambda text: (
        text.partition("[[set.packages]]")[0]
        + "[[set]]"
        + text.partition("[[set.packages]]")[2].partition("[[set]]")[2]
    ),
    "images": lambda text: text.replace("    'a',", "    'a',\n    'b',", 1),
    "python": lambda text: text.replace("python = '3.11'", "python = '3.12'", 1),
    "platforms": lambda text: text.replace("platforms = [", "platforms = [\n    'odd',", 1),
    "asked": lambda text: text.replace("    'alpha',", "    'alpha>1',", 1),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("policy", [LockPolicy.RENEW, LockPolicy.LOCKED, LockPolicy.PREVIEW])
def test_an_edit_is_noticed_with_its_line(locked: Any, edit: str, policy: LockPolicy) -> None:
    text = EDITS[edit](locked.lock_text)
    assert text != locked.lock_text
    locked.recipe.lock_file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        locked.lock(policy)
    (found,) = caught.value.problems
    assert found.slug == "lock-damaged"
    assert (found.place.file, found.place.line) == (
        str(locked.recipe.lock_file),
        line_of(text, "[[set]]"),
    )
    assert "coopery lock" in (found.hint or "")
    assert locked.lock_text == text


@pytest.mark.parametrize("edit", EDITS)
def test_the_lock_command_mends_an_edit(locked: Any, edit: str) -> None:
    good = locked.lock_text
    locked.recipe.lock_file.write_text(EDITS[edit](good))
    locked.lock(LockPolicy.MEND)
    assert any(line.startswith("mend ") for line in locked.told)
    # The other entry was not resolved anew.
    assert sum(line.startswith("lock ") for line in locked.told) == 1
    if edit in ("hash", "hash gone", "python", "platforms", "asked"):
        assert locked.lock_text == good
    locked.lock(LockPolicy.LOCKED)


@pytest.mark.parametrize("style", ["merge", "diff3"])
def test_the_marks_of_a_merge_conflict_are_one_error(locked: Any, style: str) -> None:
    good = locked.lock_text
    lines = good.splitlines(keepends=True)
    at = line_of(good, "version = '1.0'") - 1
    base = ["||||||| base\n", "version = '0.5'\n"] if style == "diff3" else []
    theirs = ["=======\n", "version = '2.0'\n", ">>>>>>> theirs\n"]
    lines[at:at] = ["<<<<<<< HEAD\n"]
    lines[at + 2 : at + 2] = [*base, *theirs]
    locked.recipe.lock_file.write_text("".join(lines))
    with pytest.raises(RecipeError) as caught:
        locked.lock()
    (found,) = caught.value.problems
    assert (found.slug, found.place.line) == ("lock-conflict", at + 1)
    # What of our side still fits is kept.
    locked.lock(LockPolicy.MEND)
    assert locked.lock_text == good


def test_a_lock_that_was_cut_off(locked: Any) -> None:
    good = locked.lock_text
    cut = good[: good.index("sha256") + 9]
    locked.recipe.lock_file.write_text(cut)
    with pytest.raises(RecipeError) as caught:
        locked.lock()
    (found,) = caught.value.problems
    assert (found.slug, found.place.line) == ("lock-damaged", line_of(cut, "sha256"))
    locked.lock(LockPolicy.UPGRADE)
    locked.lock(LockPolicy.LOCKED)


def test_a_key_of_the_wrong_kind_is_named_with_its_entry(locked: Any) -> None:
    text = locked.lock_text.replace("name = 'gamma'", "name = 3")
    locked.recipe.lock_file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        locked.lock()
    (found,) = caught.value.problems
    assert (found.slug, found.place.line) == ("lock-damaged", line_of(text, "[[set]]", 1))
    assert "name" in found.message


def test_two_answers_to_one_question_are_noticed(locked: Any) -> None:
    text = locked.lock_text
    first = "[[set]]" + text.split("[[set]]")[1]
    locked.recipe.lock_file.write_text(text + "\n" + first)
    with pytest.raises(RecipeError) as caught:
        locked.lock()
    (found,) = caught.value.problems
    assert (found.slug, found.place.line) == ("lock-damaged", text.count("\n") + 2)


def test_line_ends_of_another_system_are_no_damage(locked: Any) -> None:
    text = locked.lock_text.replace("\n", "\r\n")
    locked.recipe.lock_file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    locked.lock(LockPolicy.LOCKED)


def test_bytes_that_are_no_text(locked: Any) -> None:
    locked.recipe.lock_file.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError) as caught:
        locked.lock()
    assert caught.value.problems[0].slug == "lock-damaged"


def test_a_lock_of_an_older_format_is_resolved_anew(locked: Any) -> None:
    good = locked.lock_text
    locked.recipe.lock_file.write_text("version = 1\n[[set]]\nplatform = 'x'\n")
    with pytest.raises(RecipeError) as caught:
        locked.lock(LockPolicy.LOCKED)
    assert {p.slug for p in caught.value.problems} == {"lock-outdated"}
    locked.lock()
    assert "version = '2.0'" in locked.lock_text
    assert good.count("[[set]]") == locked.lock_text.count("[[set]]")


def test_a_lock_of_a_newer_format_is_left_alone(locked: Any) -> None:
    text = locked.lock_text.replace("version = 2\n", "version = 99\n", 1)
    locked.recipe.lock_file.write_text(text)
    for policy in (LockPolicy.RENEW, LockPolicy.MEND, LockPolicy.UPGRADE):
        with pytest.raises(RecipeError) as caught:
            locked.lock(policy)
        assert caught.value.problems[0].slug == "lock-too-new"
    assert locked.lock_text == text


def test_the_commands_tell_and_mend(bench: Any) -> None:
    (bench.root / "recipe.toml").write_text(
        '[image.a]\npackages = ["alpha"]\n[task.t]\nimage = "a"\ncommand = ["true"]\n'
    )

    def coopery(*arguments: str) -> Answer:
        env = {**os.environ, "COOPERY_HOME": str(bench.root.parent / "coopery-home")}
        return call(*arguments, cwd=bench.root, env=env)

    assert coopery("lock").exit_code == 0
    file = bench.root / "recipe.lock"
    good = file.read_text()
    file.write_text(good.replace("'2.0'", "'1.0'"))
    for command in (["run"], ["run", "--dry-run"], ["lock", "--check"]):
        done = coopery(*command)
        assert done.exit_code == 2
        assert f"{file}:{line_of(good, '[[set]]')}: " in done.stderr
        assert "[lock-damaged]" in done.stderr
        assert "`coopery lock`" in done.stderr
    done = coopery("lock")
    assert done.exit_code == 0
    assert done.stderr.startswith("mend     ")
    assert "version = '1.0'" in file.read_text()
    assert coopery("lock", "--check").exit_code == 0
    assert coopery("lock", "--upgrade").exit_code == 0
    assert file.read_text() == good
