"""Packages in git repositories: over every scheme, at every kind of ref, as wheels of an image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coopery.testing.repositories import HttpServer, SshServer, make_repository, package_files

from .conftest import Shop


@pytest.fixture(params=["file", "http", "https", "ssh", "path"])
def url_of(request: Any, shop: Shop) -> Any:
    """The URL of a repository over each scheme."""
    match request.param:
        case "file":
            return shop.file_url
        case "path":
            return lambda name: f"../repositories/{name}.git"
    server: HttpServer | SshServer = request.getfixturevalue(request.param)
    return server.url


@pytest.mark.parametrize(
    "kind", ["branch", "tag", "annotated", "commit", "short", "default", "refs"]
)
def test_every_scheme_and_kind_of_ref(shop: Shop, url_of: Any, kind: str) -> None:
    pack = shop.repository("pack")
    first = pack.git("rev-parse", "HEAD")
    pack.tag("v1", annotated=kind == "annotated")
    pack.git("branch", "feature/old")
    pack.commit(package_files("pack", "2.0"))
    ref = {
        "branch": "feature/old", "tag": "v1", "annotated": "v1", "commit": first,
        "short": first[:9], "refs": "refs/heads/feature/old",
    }.get(kind)  # fmt: skip
    said = f', ref = "{ref}"' if ref else ""
    shop.recipe(f'{{ url = "{url_of("pack")}"{said} }}')
    assert shop.says() == {"pack": "pack 2.0" if kind == "default" else "pack 1.0"}
    wanted = first if ref else pack.git("rev-parse", "HEAD")
    assert f"@{wanted}'" in shop.lock
    assert "version = 4\n" in shop.lock
    assert str(shop.project.root) not in shop.lock
    again = shop.project.coopery("run", "--locked")
    assert again.exit_code == 0, again.stderr


@pytest.mark.parametrize("scheme", ["file", "https", "ssh"])
def test_a_package_in_a_folder_with_an_extra(shop: Shop, scheme: str, request: Any) -> None:
    shop.repository("dep-x")
    server = None if scheme == "file" else request.getfixturevalue(scheme)
    url = shop.file_url if server is None else server.url
    many = make_repository(shop.folder, "many")
    many.commit({"README": "packages/core"})
    extra = {"more": f"dep-x @ git+{url('dep-x')}"}
    many.commit(package_files("pack-core", "3.0", extras=extra), below="packages/core")
    shop.recipe(
        f'{{ url = "{url("many")}", package = "Pack.Core", subdirectory = "packages/core/", '
        'extras = ["more"] }'
    )
    assert shop.says() == {"pack_core": "pack-core 3.0", "dep_x": "dep-x 1.0"}
    assert "#subdirectory=packages/core'" in shop.lock
    shop.recipe(
        f'{{ url = "{url("many")}", package = "pack-core", subdirectory = "packages/core" }}'
    )
    assert shop.says() == {"pack_core": "pack-core 3.0"}


def test_a_moved_branch_is_seen_by_an_upgrade_alone(shop: Shop) -> None:
    pack = shop.repository("pack")
    dep = shop.repository("dep")
    pack.commit(package_files("pack", requires=[f"dep @ git+{shop.file_url('dep')}@main"]))
    before = dep.git("rev-parse", "HEAD")
    shop.recipe(f'{{ url = "{shop.file_url("pack")}", ref = "main" }}')
    assert shop.says() == {"pack": "pack 1.0", "dep": "dep 1.0"}
    lock = shop.lock
    pack.commit(package_files("pack", "2.0", [f"dep @ git+{shop.file_url('dep')}@main"]))
    dep.commit(package_files("dep", "2.0"))
    assert shop.says("--force-all") == {"pack": "pack 1.0", "dep": "dep 1.0"}
    assert shop.lock == lock
    # Neither does another requirement move what was locked, nor what that asks for.
    shop.repository("extra")
    shop.recipe(
        f'{{ url = "{shop.file_url("pack")}", ref = "main" }}', f'"{shop.file_url("extra")}"'
    )
    assert shop.says() == {"pack": "pack 1.0", "dep": "dep 1.0", "extra": "extra 1.0"}
    assert before in shop.lock
    answer = shop.project.coopery("lock", "--upgrade")
    assert "dep 1.0 -> 2.0" in answer.stderr and "pack 1.0 -> 2.0" in answer.stderr
    assert shop.says() == {"pack": "pack 2.0", "dep": "dep 2.0", "extra": "extra 1.0"}


def test_two_images_with_contradicting_commits(shop: Shop) -> None:
    pack = shop.repository("pack")
    pack.tag("v1")
    pack.commit(package_files("pack", "2.0"))
    url = shop.file_url("pack")
    other = f'[image.other]\ngit = [{{ url = "{url}", ref = "v1" }}]\n'
    other += '[task.old]\nimage = "other"\noutputs.o = "build/old.txt"\n'
    other += "command = \"python -c 'import pack; print(pack.SAYS)' > {outputs.o}\"\n"
    shop.recipe(f'"{url}"', more=other)
    assert shop.says() == {"pack": "pack 2.0"}
    assert shop.project.read("build/old.txt") == "pack 1.0\n"


def test_one_ref_is_one_commit_for_all_images_and_one_wheel(shop: Shop) -> None:
    pack = shop.repository("pack")
    url = shop.file_url("pack")
    shop.recipe(f'"{url}"')
    shop.says()
    pack.commit(package_files("pack", "2.0"))
    other = f'[image.other]\npackages = ["pack @ git+{url}"]\n[task.old]\nimage = "other"\n'
    other += 'outputs.o = "build/old.txt"\ncommand = "touch {outputs.o}"\n'
    shop.recipe(f'"{url}"', more=other)
    steps = shop.project.run()
    assert len([name for name in steps if name.startswith("wheel ")]) == 1
    assert steps[next(n for n in steps if n.startswith("wheel "))]["cached"]


def test_lines_of_requirements_files(shop: Shop, http: HttpServer) -> None:
    shop.repository("pack")
    shop.repository("dep")
    shop.project.write(
        "requirements.txt",
        f"git+{http.url('pack')}#egg=pack\n"
        f"dep @ git+{http.url('dep')}@main ; python_version > '3'\n",
    )
    shop.project.write(
        "recipe.toml", '[image.science]\nrequirements = ["requirements.txt"]\n' + _report()
    )
    assert shop.says() == {"pack": "pack 1.0", "dep": "dep 1.0"}


def _report() -> str:
    from .conftest import REPORT

    return REPORT


def test_an_own_project_that_depends_on_a_repository(shop: Shop) -> None:
    shop.repository("dep")
    files = package_files("pack", requires=[f"dep @ git+{shop.file_url('dep')}@main"])
    for name, text in files.items():
        shop.project.write(f"pack/{name}", text)
    shop.project.write("recipe.toml", '[image.science]\nprojects = ["pack"]\n' + _report())
    assert shop.says() == {"pack": "pack 1.0", "dep": "dep 1.0"}


def test_a_python_recipe(shop: Shop) -> None:
    shop.repository("pack")
    shop.project.write(
        "recipe.py",
        f"""
        from coopery import Git, Image, command
        science = Image(git=[Git({shop.file_url("pack")!r}, ref="main", extras=())])
        command("report", ["python", "-c", "import pack; print(pack.SAYS)"], image=science)
        """,
    )
    answer = shop.project.coopery("run")
    assert answer.exit_code == 0, answer.stderr
    assert "pack 1.0" in shop.project.coopery("logs", "report").stdout


def test_submodules_come_along(shop: Shop, http: HttpServer) -> None:
    shop.repository("dep")
    pack = shop.repository("pack")
    pack.git("submodule", "--quiet", "add", shop.file_url("dep"), "pack_parts")
    pack.git("config", "-f", ".gitmodules", "submodule.pack_parts.url", "../dep.git")
    pack.commit({"pack.py": "from pack_parts.dep import SAYS\n", "pack_parts.txt": ""})
    shop.recipe(f'"{http.url("pack")}"')
    assert shop.says()["pack"] == "dep 1.0"


def test_nothing_is_asked_of_a_server_when_all_is_cached(shop: Shop, http: HttpServer) -> None:
    shop.repository("pack")
    shop.recipe(f'"{http.url("pack")}"')
    assert shop.says() == {"pack": "pack 1.0"}
    http.asked.clear()
    assert shop.says("--locked", "--force-all") == {"pack": "pack 1.0"}
    answer = shop.project.coopery("run", "--dry-run")
    assert answer.exit_code == 0
    assert shop.project.coopery("lock", "--check").exit_code == 0
    assert http.asked == []


def test_a_wheel_is_built_once_for_a_commit_whatever_leads_to_it(
    shop: Shop, http: HttpServer
) -> None:
    pack = shop.repository("pack")
    pack.tag("v1")
    shop.recipe(f'{{ url = "{http.url("pack")}", ref = "v1" }}')
    shop.says()
    shop.recipe(f'{{ url = "{shop.file_url("pack")}", ref = "main" }}')
    steps = shop.project.run()
    (wheel,) = (steps[name] for name in steps if name == "wheel pack (git)")
    assert wheel["cached"]


def test_versions_from_the_history(shop: Shop, http: HttpServer, monkeypatch: Any) -> None:
    """A backend that asks git gets the version that it gave to the resolver."""
    pack = make_repository(shop.folder, "pack")
    files = package_files("pack")
    backend = files["own_backend.py"].replace(
        "    return stem, meta\n",
        "    import subprocess\n"
        "    told = subprocess.run(['git', 'describe', '--tags', '--long'], text=True,\n"
        "                          capture_output=True, check=True).stdout.strip()\n"
        "    tag, count, _ = told.rsplit('-', 2)\n"
        "    state = subprocess.run(['git', 'status', '--porcelain'], text=True,\n"
        "                           capture_output=True, check=True).stdout\n"
        "    version = f\"{tag.removeprefix('v')}.{count}\"\n"
        "    assert 'pyproject' not in state, state\n"
        "    meta = meta.replace('Version: 1.0', f'Version: {version}')\n"
        "    return stem.replace('-1.0', f'-{version}'), meta\n",
    )
    pack.commit({**files, "own_backend.py": backend, ".gitignore": "__pycache__\n"})
    pack.tag("v3.1", annotated=True)
    pack.commit({"later": "1"})
    pack.commit({"later": "2"})
    shop.recipe(f'"{http.url("pack")}"')
    assert shop.says() == {"pack": "pack 1.0"}
    assert "version = '3.1.2'" in shop.lock


def test_a_task_may_be_a_function_of_the_package(shop: Shop) -> None:
    pack = make_repository(shop.folder, "pack")
    body = "def main(out):\n    out.write_text('from the repository')\n"
    pack.commit({**package_files("pack"), "pack.py": body})
    shop.project.write(
        "recipe.toml",
        f"""
        [image.science]
        git = ["{shop.file_url("pack")}"]
        [task.main]
        image = "science"
        function = "pack:main"
        outputs.out = "build/out.txt"
        """,
    )
    answer = shop.project.coopery("run")
    assert answer.exit_code == 0, answer.stderr
    assert shop.project.read("build/out.txt") == "from the repository"


def test_why_tells_that_another_commit_is_there(shop: Shop) -> None:
    pack = shop.repository("pack")
    shop.recipe(f'"{shop.file_url("pack")}"')
    shop.says()
    before = pack.git("rev-parse", "HEAD")
    after = pack.commit({"pack.py": "SAYS = 'changed'\n"})
    assert shop.project.coopery("lock", "--upgrade").exit_code == 0
    answer = shop.project.coopery("why", "report")
    assert answer.exit_code == 0, answer.stderr
    assert before[:10] in answer.stdout and after[:10] in answer.stdout, answer.stdout
    assert shop.says() == {"pack": "changed"}
    listed = shop.project.coopery("cache", "info").stdout
    assert "git repositories" in listed


def test_a_repository_that_was_evicted_is_fetched_again(shop: Shop, http: HttpServer) -> None:
    shop.repository("pack")
    shop.recipe(f'"{http.url("pack")}"')
    shop.says()
    assert list((shop.project.home / "git").glob("*/complete"))
    assert shop.project.coopery("cache", "gc", "--budget", "0", "--older-than", "0").exit_code == 0
    assert not list((shop.project.home / "git").glob("*/complete"))
    assert shop.says("--force-all") == {"pack": "pack 1.0"}


def test_one_repository_for_several_commits_and_runs_at_a_time(
    shop: Shop, http: HttpServer, tmp_path: Path
) -> None:
    """Runs of one home share what is fetched; each finds its commit."""
    pack = shop.repository("pack")
    pack.tag("v1")
    pack.commit(package_files("pack", "2.0"))
    pack.tag("v2")
    projects = []
    for number in range(4):
        root = tmp_path / f"other-{number}"
        root.mkdir()
        other = replace(shop.project, root=root)
        item = f'{{ url = "{http.url("pack")}", ref = "v{number % 2 + 1}" }}'
        other.write("recipe.toml", f"[image.science]\ngit = [{item}]\n{_report()}")
        projects.append(other)
    calls = [other.start("run") for other in projects]
    said = [call.communicate()[1] for call in calls]
    assert [call.returncode for call in calls] == [0, 0, 0, 0], said
    told = [other.read("build/report.txt") for other in projects]
    assert told == ["pack: pack 1.0\n", "pack: pack 2.0\n"] * 2
    assert len(list((shop.project.home / "git").glob("*/complete"))) == 1
