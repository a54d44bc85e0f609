"""Indexes that want credentials, which a recipe or a requirements file names and nobody writes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.conftest import GuardIndex
from tests.lock.conftest import make_wheel

from coopery import masking, processes
from coopery.dependencies import IndexOptions
from coopery.errors import MachineError
from coopery.indexes import installer_environment
from coopery.model import Index, Secret
from coopery.secrets import Secrets
from coopery.testing import Project
from coopery.testing.traces import traces, traces_in

CANARY = "canary-b7/c0+ffee"
TASK = """
[task.a]
image = "i"
command = ["python", "-c", "import importlib.metadata as m; m.version('alpha')"]
"""


def image(url: str, more: str = "") -> str:
    secret = '{ secret = "INDEX_PASSWORD" }'
    index = f'{{ url = "{url}", username = "me", password = {secret}{more} }}'
    return f'[image.i]\npackages = ["alpha"]\nindexes = [{index}]\n'


@pytest.fixture
def url(guard_index: GuardIndex, tmp_path: Path) -> str:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    make_wheel(shelf, "alpha", "1.0")
    return f"http://{guard_index(shelf, 'me', CANARY)}/simple/"


def test_an_index_gets_what_is_named(project: Project, url: str) -> None:
    project.write("recipe.toml", image(url) + TASK)
    env = {"INDEX_PASSWORD": CANARY}
    assert project.coopery("lock", env=env).exit_code == 0
    project.run("--locked", env=env)
    # What is remembered needs none; and the index's name, not the password's value, is locked.
    assert all(step["cached"] for step in project.run("--locked").values())
    assert url in project.read("recipe.lock")
    assert not traces(CANARY, [project.root, project.home])


def test_one_of_the_defaults_is_every_images(project: Project, url: str) -> None:
    head, _, indexes = image(url).partition("indexes")
    project.write("recipe.toml", f"[defaults]\nindexes{indexes}{head}{TASK}")
    project.run(env={"INDEX_PASSWORD": CANARY})
    (listed,) = project.coopery("secrets", "--json").json["secrets"]
    assert listed["used_by"] == ["defaults.indexes[0].password"]


def test_another_rotation_has_packages_installed_again(project: Project, url: str) -> None:
    """A new account may see other files; the value alone says nothing."""
    env = {"INDEX_PASSWORD": CANARY}
    for rotation, cached in (("", False), ("", True), (", rotation = 2", False)):
        text = image(url).replace('"INDEX_PASSWORD"', f'"INDEX_PASSWORD"{rotation}')
        project.write("recipe.toml", text + TASK)
        assert project.run(env=env)["environment i"]["cached"] is cached
    text = image(url).replace('"INDEX_PASSWORD"', '"INDEX_PASSWORD", rotation = 3')
    project.write("recipe.toml", text + TASK)
    assert "rotated" in project.coopery("why", "i").stdout


def test_what_it_refuses_is_told_without_the_password(project: Project, url: str) -> None:
    project.write("recipe.toml", image(url) + TASK)
    said = project.coopery("run", "--debug", "-v", env={"INDEX_PASSWORD": f"{CANARY}-old"})
    assert "[index-credentials]" in said.stderr
    assert "recipe.toml:3" in said.stderr and not traces_in(said.stderr.encode(), CANARY)
    said = project.coopery("run")
    assert said.exit_code == 3 and "INDEX_PASSWORD" in said.told("secret-missing")


def test_a_name_in_a_requirements_file_may_be_a_secrets(project: Project, url: str) -> None:
    host = url.removeprefix("http://")
    project.write("req.txt", f"--index-url http://me:${{INDEX_PASSWORD}}@{host}\nalpha\n")
    project.write("recipe.toml", f"[image.i]\nrequirements = 'req.txt'\n{TASK}")
    token = project.root.parent / "token"
    token.write_text(f"{CANARY}\n")
    token.chmod(0o600)
    project.run("--secret", f"INDEX_PASSWORD=file:{token}")
    assert not traces(CANARY, [project.root, project.home])
    said = project.coopery("lock", "--upgrade")
    assert "there is no secret INDEX_PASSWORD" in said.told("index-credentials")


def test_it_reaches_the_packages_of_an_image(contained: Project, url: str, engine: Any) -> None:
    contained.plugin("plain", "from coopery.hooks import hookimpl\n")
    text = image(url).replace("[image.i]", '[image.i]\nbase = "python:3.11-slim"\npython = "3.11"')
    contained.write("recipe.toml", text + TASK)
    flags = ("--without", "handmade")
    answer = contained.coopery("run", "-r", "docker", *flags, env={"INDEX_PASSWORD": CANARY})
    assert answer.exit_code == 0, answer.stderr
    assert not traces(CANARY, [contained.root, contained.home])


@pytest.mark.parametrize(
    ("index", "slug"),
    [
        ('{ url = "https://me:hunter2@x.org/simple" }', "wrong-value"),
        ('{ url = "https://x.org/simple?key=hunter2" }', "wrong-value"),
        ('{ url = "https://x.org/simple", password = "hunter2" }', "secret-as-text"),
        ('{ url = "ftp://x.org" }', "wrong-value"),
        ('{ url = "https://x.org" }, "https://x.org/"', "duplicate-index"),
        ('"https://x.org", "https://y.org"', "duplicate-index"),
        ('{ url = "https://x.org", pasword = { secret = "A" } }', "unknown-key"),
    ],
)
def test_what_is_wrong_with_an_index_is_told(project: Project, index: str, slug: str) -> None:
    project.write("recipe.toml", f"[image.i]\nindexes = [{index}]\n{TASK}")
    said = project.coopery("lock")
    assert slug in said.slugs and "hunter2" not in said.stderr


def test_credentials_are_no_variables_and_no_arguments() -> None:
    asked: list[str] = []

    def provide(secret: Secret) -> str:
        asked.append(secret.name)
        return f"{secret.name.lower()}-{CANARY}"

    url, other = "https://one.org/simple", "https://two.org/simple"
    index = IndexOptions(
        index_url=f"https://someone@{url.removeprefix('https://')}/",
        extra_index_urls=("https://${USER_3}:${WORD_3}@three.org/simple",),
        named=(
            Index(url=url, username="me", password=Secret(name="ONE")),
            Index(url=other, password=Secret(name="TWO"), extra=True),
        ),
    )
    environ = {"PIP_CONFIG_FILE": "/dev/null", "USER_3": "third"}
    found = installer_environment(index, environ=environ, secrets=Secrets(provide))
    # For uv alone: its children inherit its variables, and anybody sees its arguments.
    written = quote(CANARY, safe="")
    assert found.confided.splitlines() == [
        f"--index-url https://me:one-{written}@one.org/simple",
        f"--extra-index-url https://third:word_3-{written}@three.org/simple",
        f"--extra-index-url https://__token__:two-{written}@two.org/simple",
    ]
    assert found.index == url and sorted(asked) == ["ONE", "TWO", "WORD_3"]
    for told in (found.flags, found.variables, found.variables.values(), repr(found)):
        assert CANARY not in str(told) and written not in str(told)
    with pytest.raises(MachineError, match="index-credentials"):
        installer_environment(index, environ=environ)


def test_what_called_programs_print_is_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a secret is known; also where it comes in pieces."""
    monkeypatch.setattr(masking, "_known", None)
    monkeypatch.setattr(masking, "_forms", set())
    log = tmp_path / "log"
    half = len(CANARY) // 2
    script = f"printf '{CANARY[:half]}'; sleep 0.2; printf '{CANARY[half:]}'; echo ' {CANARY}' >&2"
    command = ["sh", "-c", script]
    environ = {"PATH": "/usr/bin:/bin"}
    for _ in range(2):
        code = processes.call(command, environ, log=log, cancelled=threading.Event())
        assert code == 0
        masking.keep_out(CANARY)
    assert log.read_text() == f"{CANARY} {CANARY}\n**** ****\n"


def test_what_uv_fills_in_by_itself_it_finds(project: Project, url: str) -> None:
    """A variable in the URL of a package, though a task names it as a secret too."""
    wheel = url.replace("/simple/", "/packages/alpha-1.0-py3-none-any.whl").replace(
        "http://", "http://me:${INDEX_PASSWORD}@"
    )
    project.write("recipe.toml", f"[image.i]\npackages = ['alpha @ {wheel}']\n{TASK}")
    with_it = project.read("recipe.toml") + "secrets.t = { secret = 'INDEX_PASSWORD' }\n"
    project.write("recipe.toml", with_it)
    env = {"INDEX_PASSWORD": CANARY.replace("/", "%2F").replace("+", "%2B")}
    project.run(env=env)
    assert not traces(CANARY, [project.root, project.home])


def test_the_password_of_a_proxy_is_not_told(project: Project) -> None:
    """Tasks and uv need the variable; in logs, errors and records it is masked."""
    word = "proxy-canary/77"
    proxy = f"http://me:{quote(word, safe='')}@127.0.0.1:9"
    both = f"me:{word} {word}"
    project.write(
        "recipe.toml",
        f"""
        [task.a]
        command = "echo $HTTPS_PROXY '{both}' | tee {{outputs.o}}; false"
        outputs.o = "o"

        [image.i]
        packages = ["alpha"]
        git = ["http://git.example.org/beta.git"]
        """,
    )
    env = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"), proxy)
    said = project.coopery("run", "a", "--debug", "-v", env=env)
    assert "http://me:****@127.0.0.1:9" in said.stderr
    for more in ((), ("--debug",)):
        told = project.coopery("lock", *more, env={**env, "UV_HTTP_RETRIES": "0"}).stderr
        assert "git.example.org" in told
        assert not traces_in(told.encode(), word)
    assert not traces_in(said.stderr.encode(), word)
    assert not traces(word, [project.home])
