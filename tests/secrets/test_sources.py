"""Where secrets are looked for, in which order, and what is refused; never with the value."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from coopery.errors import MachineError
from coopery.testing import Project
from coopery_secrets import sources

TASK = """
[task.a]
command = "cat {secrets.token} > {outputs.o}"
secrets.token = { secret = "API_TOKEN" }
outputs.o = "o"
"""
VALUE = "canary-77-value"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home with no secrets in it, and a keyring in a file."""
    for name in ("API_TOKEN", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring")
    return tmp_path


def keep(home: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = home / ".config/coopery/secrets/API_TOKEN"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def ring(home: Path, value: str, service: str = "coopery", user: str = "API_TOKEN") -> None:
    command = [sys.executable, "-m", "keyring", "set", service, user]
    subprocess.run(command, input=value.encode(), check=True, env={**os.environ})


def slug(declared: tuple[str, ...] = ()) -> tuple[str, str]:
    """What is refused, and in which words, which never hold the value."""
    with pytest.raises(MachineError) as told:
        sources.find("API_TOKEN", declared)
    (found,) = told.value.problems
    assert VALUE not in str(found)
    return found.slug, str(found)


def test_a_variable_goes_before_a_file_and_a_file_before_the_keyring(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring(home, "three")
    assert sources.find("API_TOKEN", ()).value == "three"
    path = keep(home, "two\n")
    found = sources.find("API_TOKEN", ())
    assert (found.value, found.source) == ("two", f"the file {path}")
    monkeypatch.setenv("API_TOKEN", "one")
    assert sources.find("API_TOKEN", ()).value == "one"
    assert "one" not in repr(sources.find("API_TOKEN", ()))


def test_what_is_declared_is_where_it_comes_from(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("API_TOKEN", "wrong")
    monkeypatch.setenv("OTHER", "right")
    assert sources.find("API_TOKEN", ("API_TOKEN=env:OTHER",)).value == "right"
    path = tmp_path / "my token"
    path.write_text("from file\n\n")
    path.chmod(0o400)
    # One line's end is an editor's, what is before it is the value's.
    assert sources.find("API_TOKEN", (f"API_TOKEN=file:{path}",)).value == "from file\n"
    assert sources.find("API_TOKEN", ("API_TOKEN=file:~/my token",)).value == "from file\n"
    ring(home, "ringed", "https://example.org/x", "me")
    declared = ("API_TOKEN=keyring:https://example.org/x/me",)
    assert sources.find("API_TOKEN", declared).value == "ringed"
    # What is declared and not there is not looked for elsewhere.
    assert slug(("API_TOKEN=env:NOWHERE",))[0] == "secret-missing"


def test_where_it_was_looked_for_is_told(home: Path) -> None:
    found, text = slug()
    assert found == "secret-missing"
    for place in ("variable API_TOKEN", f"{home}/.config/coopery/secrets/API_TOKEN", "keyring"):
        assert place in text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_may_read_is_refused(home: Path, mode: int) -> None:
    path = keep(home, VALUE, mode)
    found, text = slug()
    assert found == "secret-exposed" and f"chmod 600 {path}" in text


@pytest.mark.parametrize(
    ("mode", "owner", "read_only", "good"),
    [
        (0o444, 0, False, True),
        (0o644, 0, False, True),
        (0o666, 0, False, False),
        (0o644, 4711, False, False),
        (0o666, 4711, True, True),
    ],
)
def test_what_an_engine_mounts_into_a_container_is_taken(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    owner: int,
    *,
    read_only: bool,
    good: bool,
) -> None:
    """Docker's are readable for all by default; whatever else is there must be closed."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files to others and mount them")
    mounted = home / "run" / "secrets"
    mounted.mkdir(parents=True)
    monkeypatch.setattr(sources, "_CONTAINERS", mounted)
    with ExitStack() as stack:
        if read_only:
            call = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)]
            if subprocess.run(call, capture_output=True, check=False).returncode:
                pytest.skip("nothing can be mounted")
            stack.callback(subprocess.run, ["umount", "--lazy", str(mounted)], check=True)
        # As Kubernetes has it: a link to where it really is.
        (mounted / "..data").mkdir()
        path = mounted / "..data" / "API_TOKEN"
        path.write_text(VALUE)
        path.chmod(mode)
        os.chown(path, owner, owner)
        (mounted / "API_TOKEN").symlink_to("..data/API_TOKEN")
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
        for declared in ((), (f"API_TOKEN=file:{mounted / 'API_TOKEN'}",)):
            if good:
                assert sources.find("API_TOKEN", declared).value == VALUE
            else:
                assert slug(declared)[0] == "secret-exposed"
        # A link there does not open what is elsewhere.
        if not read_only:
            keep(home, VALUE, 0o644).rename(home / "elsewhere")
            (mounted / "API_TOKEN").unlink()
            (mounted / "API_TOKEN").symlink_to(home / "elsewhere")
            assert slug()[0] == "secret-exposed"


@pytest.mark.parametrize("content", ["", "\n", b"\xff\xfe" + VALUE.encode()])
def test_nothing_and_no_text_are_no_secrets(home: Path, content: str | bytes) -> None:
    keep(home, content)
    assert slug()[0] == "bad-secret"


def test_an_empty_variable_is_no_secret(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "")
    assert slug()[0] == "bad-secret"
    monkeypatch.setenv("API_TOKEN", os.fsdecode(b"\xff" + VALUE.encode()))
    assert slug()[0] == "bad-secret"


def test_a_folder_is_no_secret(home: Path) -> None:
    (home / ".config/coopery/secrets/API_TOKEN").mkdir(parents=True)
    assert slug()[0] == "bad-secret"


def test_without_a_keyring_that_is_what_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    ask = "import sys; from coopery_secrets import sources; sources.find('API_TOKEN', sys.argv[1:])"
    for declared, told in (
        ((), "there is none here"),
        (("API_TOKEN=keyring:a/b",), "[keyring-failed]"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", ask, *declared], capture_output=True, text=True, check=False
        )
        assert told in done.stderr


def test_a_third_partys_store_goes_first(project: Project) -> None:
    project.plugin(
        "vault",
        """
        from coopery.hooks import hookimpl

        @hookimpl
        def provide_secret(secret):
            return {"API_TOKEN": "vaulted"}.get(secret.name)
        """,
    )
    project.write("recipe.toml", TASK)
    project.run(env={"API_TOKEN": "own"})
    assert project.read("o") == "vaulted"
    (listed,) = project.coopery("secrets", "--json").json["secrets"]
    assert listed["source"] == "the plugin vault" and listed["there"]


@pytest.mark.parametrize("answer", ["''", "b'canary-77-value'", "['canary-77-value']"])
def test_what_a_store_answers_wrongly_is_not_repeated(project: Project, answer: str) -> None:
    project.plugin(
        "vault",
        f"""
        from coopery.hooks import hookimpl

        @hookimpl
        def provide_secret(secret):
            return {answer}
        """,
    )
    project.write("recipe.toml", TASK)
    said = project.coopery("run", "--debug")
    assert said.exit_code == 3 and VALUE not in said.stderr + said.stdout
    assert ("[bad-secret]" if answer == "''" else "[bad-answer]") in said.stderr


WRONG = ("API_TOKEN=canary-77-value", "canary-77-value", "API_TOKEN=env:", "API_TOKEN=keyring:x")


@pytest.mark.parametrize("text", WRONG)
def test_a_value_in_place_of_a_source_is_refused_unsaid(project: Project, text: str) -> None:
    """By the flag, the variable and pyproject.toml alike."""
    project.write("recipe.toml", TASK)
    calls: list[tuple[tuple[str, ...], Mapping[str, str]]] = [
        (("run", "--secret", text), {}),
        (("run",), {"COOPERY_SECRET": text}),
        (("why", "a"), {"COOPERY_SECRET": text}),
    ]
    for arguments, env in calls:
        said = project.coopery(*arguments, env=env)
        assert said.exit_code == 2 and said.slugs == ("wrong-value",)
        assert text not in said.stderr and "file:" in said.told("wrong-value")
    project.write("pyproject.toml", f"[tool.coopery]\nsecret = [{text!r}]\n")
    said = project.coopery("run")
    assert said.slugs == ("wrong-value",) and text not in said.stderr
    assert "pyproject.toml:2" in said.stderr


def test_two_sources_of_one_secret_are_refused(project: Project) -> None:
    project.write("recipe.toml", TASK)
    flags = ("--secret", "API_TOKEN=env:A", "--secret", "API_TOKEN=env:B")
    assert project.coopery("run", *flags).slugs == ("bad-option",)


def test_a_source_of_a_misspelt_name_is_warned_of(project: Project) -> None:
    project.write("recipe.toml", TASK)
    env = {"API_TOKEN": VALUE, "OTHER": VALUE}
    said = project.coopery("run", "--secret", "API_TOKN=env:OTHER", env=env)
    assert said.exit_code == 0
    assert "[unknown-secret]" in said.stderr and "did you mean 'API_TOKEN'?" in said.stderr
    for name in ("API_TOKEN", "FOR_ANOTHER_RECIPE"):
        said = project.coopery("run", "--secret", f"{name}=env:OTHER", env=env)
        assert said.exit_code == 0 and "unknown-secret" not in said.stderr


def test_the_listing_tells_who_uses_what_and_from_where(project: Project, home: Path) -> None:
    keep(home, VALUE)
    project.write(
        "recipe.toml",
        f"""
        [defaults]
        secrets.common = {{ secret = "COMMON" }}

        [image.i]
        indexes = [{{ url = "https://example.org/simple", password = {{ secret = "INDEX" }} }}]
        {TASK}
        [task.b]
        command = "true"
        secrets.it = {{ secret = "API_TOKEN" }}
        """.replace("\n        ", "\n"),
    )
    said = project.coopery("secrets", "--json", env={"COMMON": "common-value"})
    assert said.exit_code == 3
    found = {item["name"]: item for item in said.json["secrets"]}
    assert found["API_TOKEN"]["used_by"] == ["task.a.secrets.token", "task.b.secrets.it"]
    assert found["COMMON"]["used_by"] == ["defaults.secrets.common"]
    assert found["INDEX"]["used_by"] == ["image.i.indexes[0].password"]
    assert [found[name]["there"] for name in ("API_TOKEN", "COMMON", "INDEX")] == [
        True,
        True,
        False,
    ]
    assert found["COMMON"]["source"] == "the variable COMMON"
    shown = project.coopery("secrets").stdout
    assert "MISSING" in shown and VALUE not in shown + said.stdout


def test_a_recipe_without_secrets_says_so(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\n")
    said = project.coopery("secrets")
    assert (said.exit_code, said.stdout) == (0, "the recipe names no secrets\n")
