"""What may be wrong with a repository: one message each, with the place and the mend."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from coopery.testing.repositories import HttpServer, SshServer, make_repository, package_files

from .conftest import Shop


def told(shop: Shop, item: str, slug: str, code: int = 2) -> str:
    shop.recipe(item)
    answer = shop.project.coopery("lock")
    assert answer.exit_code == code, answer.stderr
    assert answer.slugs == (slug,), answer.stderr
    text = answer.told(slug)
    assert "recipe.toml:2 (image.science.git[0]" in text, text
    assert "Traceback" not in answer.stderr
    assert not (shop.project.root / "recipe.lock").exists()
    return text


def test_what_the_recipe_says_is_checked_before_anybody_is_asked(shop: Shop) -> None:
    items = {
        '"git://git.example.org/pack"': "git-url",
        '"https://"': "git-url",
        '"ssh://git.example.org"': "git-url",
        '"a b"': "git-url",
        '"github:pack"': "git-url",
        '{ url = "https://h/p", ref = "-x" }': "git-url",
        '{ url = "https://h/p", ref = "a..b" }': "git-url",
        '{ url = "https://h/p", subdirectory = "../x" }': "git-url",
        '{ url = "https://h/p", package = "p p" }': "wrong-value",
        '{ url = "https://h/p", extras = ["[x]"] }': "wrong-value",
        '{ url = "git@h:p", token = { secret = "T" } }': "git-token",
        '{ url = "https://h/p", username = { secret = "T" } }': "git-token",
        '{ url = "https://h/p", ref = "main", reff = "x" }': "unknown-key",
    }
    for item, slug in items.items():
        shop.recipe(item)
        answer = shop.project.coopery("lock")
        assert answer.slugs == (slug,), (item, answer.stderr)
        assert "recipe.toml:2" in answer.stderr and "hint: " in answer.stderr, answer.stderr


def test_an_unknown_host(shop: Shop) -> None:
    assert "nowhere.invalid" in told(shop, '"https://nowhere.invalid/pack"', "git-unreachable", 3)
    assert "nowhere.invalid" in told(shop, '"git@nowhere.invalid:pack"', "git-unreachable", 3)


def test_a_repository_that_is_not_there(shop: Shop, http: HttpServer, ssh: SshServer) -> None:
    for url in (http.url("nope"), ssh.url("nope"), shop.file_url("nope"), "../nope"):
        assert "nope" in told(shop, f'"{url}"', "git-repository")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("github:a/b@v1", 'ref = "v1"'),
        ("https://github.com/a/b.git@v1", 'ref = "v1"'),
        ("git+ssh://git@github.com/a/b@v1", 'ref = "v1"'),
        ("https://github.com/a/b.git#subdirectory=lib", 'subdirectory = "'),
        ("https://github.com/a/b.git?private_token=abc123def456", "as a secret"),
    ],
)
def test_what_stands_beside_the_url_in_a_recipe(shop: Shop, url: str, hint: str) -> None:
    """Behind a # or a ? it would be ignored, or end up in the lock."""
    text = told(shop, f'"{url}"', "git-url")
    assert hint in text and "abc123" not in text


def test_a_ref_that_is_not_there(shop: Shop, http: HttpServer) -> None:
    shop.repository("pack").git("branch", "release-2")
    text = told(shop, f'{{ url = "{http.url("pack")}", ref = "mian" }}', "git-ref")
    assert "did you mean 'main'?" in text
    text = told(shop, f'{{ url = "{http.url("pack")}", ref = "abcdef012345" }}', "git-ref")
    assert "abcdef012345" in text
    text = told(shop, f'{{ url = "{http.url("pack")}", ref = "{"0" * 40}" }}', "git-ref")
    assert "0" * 40 in text


def test_a_ref_that_is_both_branch_and_tag(shop: Shop) -> None:
    pack = shop.repository("pack")
    pack.git("branch", "v1")
    pack.commit(package_files("pack", "2.0"))
    pack.tag("v1")
    text = told(shop, f'{{ url = "{shop.file_url("pack")}", ref = "v1" }}', "git-ref-ambiguous")
    assert "refs/heads/v1" in text and "refs/tags/v1" in text
    shop.recipe(f'{{ url = "{shop.file_url("pack")}", ref = "refs/heads/v1" }}')
    assert shop.says() == {"pack": "pack 1.0"}
    shop.recipe(f'{{ url = "{shop.file_url("pack")}", ref = "refs/tags/v1" }}')
    assert shop.says() == {"pack": "pack 2.0"}


def test_an_empty_repository(shop: Shop) -> None:
    make_repository(shop.folder, "pack")
    told(shop, f'"{shop.file_url("pack")}"', "git-ref")


def test_a_folder_that_is_not_there(shop: Shop) -> None:
    shop.repository("pack")
    item = f'{{ url = "{shop.file_url("pack")}", subdirectory = "lib" }}'
    assert "'lib'" in told(shop, item, "git-subdirectory")


def test_no_project_is_there(shop: Shop) -> None:
    make_repository(shop.folder, "pack").commit({"README": "nothing", "docs/x.txt": "x"})
    assert "pack.git" in told(shop, f'"{shop.file_url("pack")}"', "not-a-project")
    item = f'{{ url = "{shop.file_url("pack")}", subdirectory = "docs" }}'
    assert "'docs'" in told(shop, item, "not-a-project")


def test_a_package_of_another_name(shop: Shop) -> None:
    make_repository(shop.folder, "py-pack").commit(package_files("pack"))
    text = told(shop, f'"{shop.file_url("py-pack")}"', "git-package")
    assert 'package = "pack"' in text and "'py-pack'" in text


def test_a_submodule_that_cannot_be_fetched(shop: Shop, http: HttpServer) -> None:
    pack = shop.repository("pack")
    shop.repository("dep")
    pack.git("submodule", "--quiet", "add", shop.file_url("dep"), "parts")
    pack.git("config", "-f", ".gitmodules", "submodule.parts.url", "../gone.git")
    pack.commit({})
    text = told(shop, f'"{http.url("pack")}"', "git-submodule")
    assert "gone.git" in text


def test_a_host_key_that_is_not_known(
    shop: Shop, ssh: SshServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shop.repository("pack")
    known = tmp_path / "none"
    command = ssh.variables["GIT_SSH_COMMAND"].replace(str(ssh.known_hosts), str(known))
    monkeypatch.setenv("GIT_SSH_COMMAND", command)
    assert str(ssh.port) in told(shop, f'"{ssh.url("pack")}"', "git-host-key", 3)


def test_a_key_that_is_refused(shop: Shop, ssh: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.repository("pack")
    command = ssh.variables["GIT_SSH_COMMAND"].replace(str(ssh.key), os.devnull)
    monkeypatch.setenv("GIT_SSH_COMMAND", command)
    text = told(shop, f'"{ssh.url("pack")}"', "git-credentials", 3)
    assert "ssh-add" in text


def test_git_is_missing(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shop.repository("pack")
    url = shop.file_url("pack")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    shop.recipe(f'"{url}"')
    answer = shop.project.coopery("lock")
    assert answer.exit_code == 3
    assert answer.slugs == ("git-missing",)


def test_a_server_that_never_answers(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/pack.git"
        shop.recipe(f'"{url}"')
        began = time.monotonic()
        answer = shop.project.coopery("lock", "--resolve-timeout", "2")
    assert answer.slugs == ("resolution-timeout",), answer.stderr
    assert "recipe.toml:2" in answer.stderr
    assert time.monotonic() - began < 30


def test_a_certificate_that_is_not_trusted(
    shop: Shop, https: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GIT_SSL_CAINFO")
    shop.repository("pack")
    assert "certificate" in told(shop, f'"{https.url("pack")}"', "git-unreachable", 3)


def test_large_files(shop: Shop) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    shop.repository("pack").commit({".gitattributes": "*.bin filter=lfs\n", "pack.bin": pointer})
    shop.recipe(f'"{shop.file_url("pack")}"')
    answer = shop.project.coopery("run")
    assert answer.exit_code == 1
    assert "pack.bin" in answer.told("git-lfs")


def test_a_commit_that_was_taken_away(shop: Shop, http: HttpServer, tmp_path: Path) -> None:
    pack = shop.repository("pack")
    shop.recipe(f'"{http.url("pack")}"')
    assert shop.project.coopery("lock").exit_code == 0
    pack.git("commit", "--quiet", "--amend", "--allow-empty", "--message", "other")
    pack.push()
    for line in (["reflog", "expire", "--expire=now", "--all"], ["gc", "--quiet", "--prune=now"]):
        subprocess.run(["git", *line], cwd=pack.bare, check=True)
    answer = shop.project.coopery("run", "--locked")
    assert "--upgrade" in answer.told("git-ref")


def test_what_another_packages_metadata_asks_for(shop: Shop, http: HttpServer) -> None:
    lines = [f"dep @ git+{http.url('nope')}@main"]
    make_repository(shop.folder, "pack").commit(package_files("pack", requires=lines))
    text = told(shop, f'"{http.url("pack")}"', "git-repository")
    assert "nope" in text and "pack" in text


def test_several_problems_come_together(shop: Shop, http: HttpServer) -> None:
    shop.repository("pack")
    shop.recipe(
        f'{{ url = "{http.url("pack")}", ref = "mian" }}',
        f'{{ url = "{http.url("nope")}", package = "dep" }}',
    )
    answer = shop.project.coopery("lock")
    assert sorted(answer.slugs) == ["git-ref", "git-repository"]
