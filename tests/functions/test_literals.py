"""Credentials that would travel with a function are told with their place, and not repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from coopery.errors import Problem, show_key

from .test_functions import checked, write

TOKEN = "ghp_" + "aB3" * 12


def told(file: Path) -> list[tuple[str, int | None, str]]:
    """File, line and message of the warnings, which are all that is found."""
    found = checked(file)
    assert all(problem.warning for problem in found), found
    assert {p.slug for p in found} <= {"credential-literal"}
    return [(Path(p.place.file or "").name, p.place.line, p.message) for p in found]


def line_of(file: Path, part: str) -> int:
    return next(n for n, line in enumerate(file.read_text().splitlines(), 1) if part in line)


CASES = {
    "an assignment": 'password = "swordfish"',
    "an annotated one": 'password: str = "swordfish"',
    "a tuple": 'user, password = "me", "swordfish"',
    "an attribute": 'print.password = "swordfish"',
    "an item": 'options["password"] = "swordfish"',
    "an argument": 'dict(user="me", password="swordfish")',
    "a table": 'x = {"user": "me", "password": "swordfish"}',
    "a fallback": 'x = options.get("password", "swordfish")',
    "a walrus": 'print(password := "swordfish")',
    "bytes": 'password = b"swordfish"',
    "a URL": 'x = "redis://:swordfish@host"',
    "a part of an f-string": 'x = f"redis://:swordfish@{options}"',
    "a nested function's default": 'inner = lambda: (lambda password="swordfish": password)',
    "a nested function": 'exec("x"); inner = lambda: dict(password="swordfish")',
}


@pytest.mark.parametrize("name", CASES)
def test_a_literal_in_the_code(tmp_path: Path, name: str) -> None:
    text = f"@task\ndef f():\n    options = {{}}\n    {CASES[name]}\n"
    file = write(tmp_path, text)
    ((where, line, message),) = told(file)
    assert (where, line) == ("recipe.py", line_of(file, "swordfish"))
    assert "swordfish" not in message and "looks like" in message


def test_what_is_read_off_a_module_has_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text('PASSWORD = "swordfish1"\nPLACE = "swordfish2"\n')
    path = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport settings\n"
    body = "@task\ndef f():\n    print(settings.PASSWORD.upper(), settings.PLACE)\n"
    assert told(write(tmp_path, path + body)) == [("settings.py", 1, "this looks like a password")]


def test_a_token_needs_no_name_and_a_remark_is_none(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        f'''
        @task
        def f():
            """Write no password here: it travels along."""
            # password = "swordfish"
            print(("a", "b"), ["{TOKEN}", "c"])
        ''',
    )
    assert told(file) == [("recipe.py", 7, "this looks like a GitHub token")]


def test_helpers_globals_defaults_and_classes_travel_along(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text(
        'PASSWORD = "swordfish1"\nUNUSED = {"password": "swordfish9"}\n'
        "def helper():\n    return PASSWORD\n"
    )
    file = write(
        tmp_path,
        """
        import sys
        sys.path.insert(0, "FOLDER")
        import helpers

        CONFIG = {"db": {"password": "swordfish2"}}
        UNUSED_PASSWORD = "swordfish8"

        class Client:
            password = "swordfish3"
            def open(self, *, api_key="a1b2c3d4e5"):
                return api_key

        def inner(password="swordfish4"):
            secret = "z9y8x7w6v5"
            return secret

        @task
        def f():
            helpers.helper(), CONFIG, Client(), inner()
        """.replace("FOLDER", str(tmp_path)),
    )
    found = {(where, line) for where, line, _ in told(file)}
    parts = ("swordfish2", "swordfish3", "a1b2c3d4e5", "swordfish4", "z9y8x7w6v5")
    assert found == {("helpers.py", 1), *(("recipe.py", line_of(file, part)) for part in parts)}


def test_what_was_read_from_the_environment_is_told_at_the_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "q1w2e3r4t5")
    text = 'import os\napi_key = os.environ["THE_KEY"]\n\n@task\ndef f():\n    print(api_key)\n'
    file = write(tmp_path, text)
    message = "a value that f captures looks like a secret"
    assert told(file) == [("recipe.py", line_of(file, "@task"), message)]
    monkeypatch.setenv("THE_KEY", "none")
    assert told(file) == []


def test_a_default_that_is_a_parameter_is_left_to_the_recipe_s_check(tmp_path: Path) -> None:
    file = write(tmp_path, '@task\ndef f(password="swordfish"):\n    print(password)\n')
    assert told(file) == []


def test_what_several_tasks_carry_is_told_once(tmp_path: Path) -> None:
    text = f'def helper():\n    return "{TOKEN}"\n'
    text += "".join(f"@task\ndef f{n}():\n    helper()\n" for n in range(3))
    (problem,) = checked(write(tmp_path, text))
    assert show_key(problem.place.key) == "task.f0.function"


def test_ordinary_code_is_not_told(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        import os
        DIGEST = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

        @task
        def f():
            token = iter(["a1b2c3d4e5"]).__next__()
            secret_name = "db"
            pad_token = "<pad>"
            password = os.environ["DB_PASSWORD"]
            api_key = os.environ.get("API_KEY", "")
            commit = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
            print(token, secret_name, pad_token, password, api_key, commit, DIGEST)
            print("enter the password: ", "token=%s" % token, f"password={password}")
        """,
    )
    assert told(file) == []


def test_a_suspect_does_not_show_its_text(tmp_path: Path) -> None:
    found: list[Problem] = checked(write(tmp_path, f'@task\ndef f():\n    return "{TOKEN}"\n'))
    assert found and TOKEN not in repr(found) + str(found[0])
