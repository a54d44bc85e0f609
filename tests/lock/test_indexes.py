"""The user's index configuration reaches uv, and credentials reach nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from coopery.confiding import CONFIDED
from coopery.dependencies import IndexOptions
from coopery.errors import MachineError, Problem, RecipeError
from coopery.indexes import InstallerSettings, installer_environment, redact

USER, PASSWORD = "cooper", "s3cr+t p@ss"
ENCODED = "s3cr%2Bt%20p%40ss"


@pytest.fixture
def guarded(bench: Any, guard_index: Any) -> str:
    """A pypiserver on loopback that wants a user and a password; its `host:port`."""
    found: str = guard_index(bench.index, USER, PASSWORD)
    return found


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")


def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(text)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments of every process that is started."""
    import subprocess

    seen: list[list[str]] = []
    real = subprocess.Popen

    def popen(command: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(list(command))
        return real(command, *args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", popen)
    return seen


def test_pip_credentials_work_and_leak_nowhere(
    bench: Any, guarded: str, online: None, tmp_path: Path, monkeypatch: Any, watch: Any
) -> None:
    conf(
        tmp_path, monkeypatch, f"[global]\nindex-url = http://{USER}:{ENCODED}@{guarded}/simple/\n"
    )
    bench.image("beta")
    lock = bench.lock()
    assert [p.requirement for p in lock.pins["a"]] == ["alpha==1.0", "beta==1.0"]
    assert watch
    for text in (bench.lock_text, str(watch), repr(lock)):
        assert PASSWORD not in text and ENCODED not in text and "s3cr" not in text


def test_variables_in_a_requirements_file_are_read_at_the_moment_of_use(
    bench: Any, guarded: str, online: None, monkeypatch: Any, watch: Any
) -> None:
    bench.image(requirements=f"-i http://${{IX_USER}}:${{IX_PASS}}@{guarded}/simple/\nalpha\n")
    with pytest.raises(MachineError) as caught:
        bench.lock()
    assert caught.value.problems[0].slug == "index-credentials"
    assert "IX_USER" in str(caught.value)
    monkeypatch.setenv("IX_USER", USER)
    monkeypatch.setenv("IX_PASS", PASSWORD)
    assert bench.lock().pins["a"][0].version == "2.0"
    assert "s3cr" not in bench.lock_text + str(watch)
    monkeypatch.delenv("IX_PASS")
    assert bench.lock().pins["a"][0].version == "2.0"


def test_variables_in_a_direct_url(
    bench: Any, guarded: str, online: None, monkeypatch: Any, watch: Any
) -> None:
    monkeypatch.setenv("IX_AUTH", f"{USER}:{ENCODED}")
    url = f"http://${{IX_AUTH}}@{guarded}/packages/alpha-1.0-py3-none-any.whl"
    bench.image(f"alpha @ {url}", requirements="--no-index\n")
    (pin,) = bench.lock().pins["a"]
    assert (pin.url, pin.version, len(pin.hashes)) == (url, "1.0", 1)
    assert "s3cr" not in bench.lock_text + str(watch)


@pytest.mark.parametrize("userinfo", ["", "cooper:wr0ngone@"])
def test_refused_credentials_name_the_host(
    bench: Any, guarded: str, online: None, monkeypatch: Any, userinfo: str
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{userinfo}{guarded}/simple/")
    bench.image("alpha")
    with pytest.raises(MachineError) as caught:
        bench.lock()
    (found,) = caught.value.problems
    assert found.slug == "index-credentials"
    assert guarded in found.message
    assert "wr0ngone" not in str(found)


@pytest.mark.parametrize("asked", ["alpha", "alpha==1.0", "beta"])
@pytest.mark.parametrize("userinfo", ["", "cooper:wr0ngone@"])
def test_refused_credentials_of_an_extra_index_name_its_host(
    bench: Any,
    guarded: str,
    online: None,
    tmp_path: Path,
    monkeypatch: Any,
    wheel: Any,
    userinfo: str,
    asked: str,
) -> None:
    """uv passes over an index that refuses, where it takes the best version over all of them."""
    other = tmp_path / "other" / "alpha"
    wheel(other, "alpha", "0.5")
    name = "alpha-0.5-py3-none-any.whl"
    (other / "index.html").write_text(f'<a href="{name}">{name}</a>')
    if asked == "alpha":
        asked = "alpha>=1"
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "other").as_uri())
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"http://{userinfo}{guarded}/simple/")
    bench.image(asked)
    found = lacking(bench)
    assert found.slug == "index-credentials"
    assert guarded in found.message and "wr0ngone" not in str(found)
    assert found.place.file == "the variable PIP_EXTRA_INDEX_URL"


def test_an_index_that_forbids_what_it_has_not(
    bench: Any, guarded: str, online: None, tmp_path: Path, monkeypatch: Any
) -> None:
    """A package that is nowhere is no matter of credentials."""
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "other").as_uri())
    url = f"http://{USER}:{ENCODED}@{guarded}/simple/"
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", url)
    bench.image("nowhere")
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    assert caught.value.problems[0].slug == "unknown-package"


def test_an_index_that_is_not_there(bench: Any, online: None, monkeypatch: Any) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://u:s3cret@127.0.0.1:9/simple/")
    bench.image("alpha")
    with pytest.raises(MachineError) as caught:
        bench.lock()
    (found,) = caught.value.problems
    assert found.slug == "index-unreachable"
    assert "127.0.0.1:9" in found.message and "s3cret" not in str(found)
    assert "refused" in found.message


def test_the_best_version_over_all_of_pips_indexes(
    bench: Any, guarded: str, online: None, tmp_path: Path, monkeypatch: Any, wheel: Any
) -> None:
    wheel(tmp_path / "other" / "alpha", "alpha", "1.5")
    (tmp_path / "other" / "alpha" / "index.html").write_text(
        '<a href="alpha-1.5-py3-none-any.whl">alpha-1.5-py3-none-any.whl</a>'
    )
    conf(
        tmp_path,
        monkeypatch,
        f"[global]\nindex-url = http://{USER}:{ENCODED}@{guarded}/simple/\n"
        f"extra-index-url = {(tmp_path / 'other').as_uri()}\n",
    )
    bench.image("alpha")
    assert [p.requirement for p in bench.lock().pins["a"]] == ["alpha==2.0"]


def environment(environ: dict[str, str], **index: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    base = {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
    found = settings({**base, **environ}, **index)
    return dict(found.variables), found.flags


def settings(environ: dict[str, str], root: Path | None = None, **index: Any) -> InstallerSettings:
    return installer_environment(IndexOptions(**index), environ=environ, root=root)


def test_nothing_said_means_nothing_but_no_downloads() -> None:
    assert environment({}) == ({"UV_PYTHON_DOWNLOADS": "never", "UV_NO_WRAP": "1"}, ())


def test_pips_settings_in_uvs_words(tmp_path: Path) -> None:
    given = settings(
        {
            "PIP_CONFIG_FILE": os.devnull,
            "UV_NO_CONFIG": "1",
            "PIP_INDEX_URL": "https://a:b@one.example/simple",
            "PIP_EXTRA_INDEX_URL": "https://two.example/s https://__token__:t@three.example/s",
            "PIP_FIND_LINKS": f"{tmp_path} {tmp_path}/absent",
            "PIP_CERT": "/ca.pem",
            "PIP_CLIENT_CERT": "/me.pem",
            "PIP_TRUSTED_HOST": "h1 h2",
            "PIP_DEFAULT_TIMEOUT": "12.6",
            "PIP_RETRIES": "2",
            "PIP_PROXY": "http://p.example:3128",
            "PIP_PRE": "yes",
            "PIP_KEYRING_PROVIDER": "import",
        }
    )
    assert given.flags == ("--constraints", CONFIDED)
    assert given.confided.splitlines() == [
        "--index-url https://a:b@one.example/simple",
        "--extra-index-url https://two.example/s",
        "--extra-index-url https://__token__:t@three.example/s",
    ]
    assert given.index == "https://one.example/simple"
    assert "a:b" not in repr(given)
    assert given.variables == {
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_WRAP": "1",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": str(tmp_path),
        "SSL_CERT_FILE": "/ca.pem",
        "SSL_CLIENT_CERT": "/me.pem",
        "UV_INSECURE_HOST": "h1 h2",
        "UV_HTTP_TIMEOUT": "13",
        "UV_HTTP_RETRIES": "2",
        "HTTP_PROXY": "http://p.example:3128",
        "HTTPS_PROXY": "http://p.example:3128",
        "UV_PRERELEASE": "allow",
        "UV_KEYRING_PROVIDER": "subprocess",
    }


def test_files_of_pip_in_its_order(tmp_path: Path) -> None:
    user = tmp_path / ".config" / "pip" / "pip.conf"
    user.parent.mkdir(parents=True)
    user.write_text(
        "[global]\nindex-url = https://user.example/s\ntimeout = 5\n[install]\npre = 1\n"
    )
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path), "UV_NO_CONFIG": "1"}
    found = settings(environ).variables
    assert found["UV_DEFAULT_INDEX"] == "coopery-default=https://user.example/s"
    assert (found["UV_HTTP_TIMEOUT"], found["UV_PRERELEASE"]) == ("5", "allow")
    (tmp_path / "given.conf").write_text("[global]\nindex_url = https://given.example/s\n")
    environ["PIP_CONFIG_FILE"] = str(tmp_path / "given.conf")
    found = settings(environ).variables
    assert found["UV_DEFAULT_INDEX"] == "coopery-default=https://given.example/s"
    assert "UV_PRERELEASE" not in found


@pytest.mark.parametrize("where", ["variable", "user", "project"])
def test_uvs_own_configuration_wins(tmp_path: Path, where: str) -> None:
    environ = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "https://pip.example/s",
        "HOME": str(tmp_path),
    }
    if where == "variable":
        environ["UV_DEFAULT_INDEX"] = "https://uv.example/s"
    elif where == "user":
        (tmp_path / ".config/uv").mkdir(parents=True)
        (tmp_path / ".config/uv/uv.toml").write_text('[[index]]\nurl = "https://uv.example/s"\n')
    else:
        (tmp_path / "pyproject.toml").write_text('[tool.uv]\nindex-url = "https://uv.example/s"\n')
    found = settings(environ, tmp_path).variables
    assert "UV_DEFAULT_INDEX" not in found


def test_what_a_requirements_file_says_wins() -> None:
    found, arguments = environment(
        {"PIP_INDEX_URL": "https://pip.example/s", "UV_FIND_LINKS": "/mine"},
        index_url="https://file.example/s",
        find_links=("/a,b", "/c"),
        no_binary=(":all:",),
        only_binary=("x",),
        pre=True,
    )
    assert found["UV_DEFAULT_INDEX"] == "coopery-default=https://file.example/s"
    assert found["UV_FIND_LINKS"] == "/mine,file:///a%2Cb,/c"
    assert found["UV_PRERELEASE"] == "allow"
    assert arguments == ("--no-binary", ":all:", "--only-binary", "x")
    assert environment({}, no_index=True)[1] == ("--no-index",)


def test_a_broken_pip_conf_is_named_and_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("index-url = https://u:s3cret@h/s\n")
    with pytest.raises(MachineError) as caught:
        installer_environment(IndexOptions(), environ={"PIP_CONFIG_FILE": str(file)})
    assert caught.value.problems[0].slug == "pip-config"
    assert str(file) in str(caught.value) and "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("see https://u:p@h/x and ftp://t@h", "see https://****@h/x and ftp://****@h"),
        ("https://u:p@ss@h/x", "https://****@h/x"),
        ("https://h/x@y a@b", "https://h/x@y a@b"),
        ("no url", "no url"),
    ],
)
def test_redaction(text: str, clean: str) -> None:
    assert redact(text) == clean


def test_a_recipe_error_when_nothing_is_found(
    bench: Any, guarded: str, online: None, monkeypatch: Any
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{USER}:{ENCODED}@{guarded}/simple/")
    bench.image("lost")
    with pytest.raises(RecipeError) as caught:
        bench.lock()
    assert caught.value.problems[0].slug == "unknown-package"


@pytest.mark.parametrize("uv", ["no-index = false\n", "index = []\n"])
def test_a_setting_of_uvs_that_names_no_index_leaves_pips(tmp_path: Path, uv: str) -> None:
    """Nor does UV_NO_INDEX, which uv itself knows nothing of."""
    (tmp_path / "uv.toml").write_text(uv)
    environ = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "https://pip.example/s",
        "HOME": str(tmp_path),
        "UV_NO_INDEX": "1",
    }
    found = settings(environ, tmp_path)
    assert found.variables["UV_DEFAULT_INDEX"] == "coopery-default=https://pip.example/s"
    assert found.flags == ()


GONE = "http://127.0.0.1:9"


def lacking(bench: Any, limit: float = 60.0) -> Problem:
    with pytest.raises(MachineError) as caught:
        bench.lock(limit=limit)
    (found,) = caught.value.problems
    assert found.hint
    assert "s3cret" not in str(found)
    return found


def test_an_index_of_a_requirements_file_has_its_line(bench: Any, online: None) -> None:
    bench.image(requirements=f"alpha\n-i {GONE}/simple/\n")
    found = lacking(bench)
    assert found.slug == "index-unreachable"
    assert (found.place.file, found.place.line) == ("requirements.txt", 2)


@pytest.mark.parametrize("where", ["PIP_INDEX_URL", "UV_INDEX_URL", "pip.conf", "uv.toml"])
def test_an_index_of_the_users_configuration_has_its_place(
    bench: Any, online: None, tmp_path: Path, monkeypatch: Any, where: str
) -> None:
    url = "http://u:s3cret@127.0.0.1:9/simple/"
    line = None
    if where == "pip.conf":
        conf(tmp_path, monkeypatch, f"[global]\nindex-url = {url}\n")
        line = 2
    elif where == "uv.toml":
        (bench.root / "uv.toml").write_text(f'\n\nindex-url = "{url}"\n')
        line = 3
    else:
        monkeypatch.setenv(where, url)
    bench.image("alpha")
    found = lacking(bench)
    assert found.slug == "index-unreachable"
    assert found.place.file is not None and found.place.file.endswith(where)
    assert found.place.line == line


def test_refused_credentials_have_the_place_of_their_index(
    bench: Any, guarded: str, online: None
) -> None:
    bench.image(requirements=f"-i http://{guarded}/simple/\nalpha\n")
    found = lacking(bench)
    assert (found.slug, found.place.line) == ("index-credentials", 1)


def test_a_variable_that_is_not_set_has_its_line(bench: Any, online: None) -> None:
    bench.image(requirements=f"alpha\n-i http://${{IX_LOST}}@{GONE[7:]}/simple/\n")
    found = lacking(bench)
    assert (found.slug, found.place.line) == ("index-credentials", 2)


def test_a_url_that_cannot_be_fetched_is_no_index(bench: Any, online: None) -> None:
    url = f"{GONE}/alpha-1.0-py3-none-any.whl"
    bench.image(requirements=f"\nalpha @ {url}\n")
    found = lacking(bench)
    assert (found.slug, found.place.line) == ("index-unreachable", 2)
    assert found.message.startswith(f"{url} cannot be fetched")
    assert "index" not in found.message and "index" not in (found.hint or "")


def test_a_resolution_that_takes_too_long_has_the_place_of_what_is_asked(
    bench: Any, online: None
) -> None:
    bench.image(requirements="\nalpha\n")
    found = lacking(bench, limit=0.0001)
    assert (found.slug, found.place.line) == ("resolution-timeout", 2)
