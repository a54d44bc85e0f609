"""A package of a git repository in an image of the engine: built outside of it, with no token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Project
from coopery.testing.repositories import make_repository, package_files, serve_http

from .conftest import SECRETS
from .test_secrets import TOKEN, holding, watched


def test_a_private_package_in_an_image(
    project: Project, sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(project.home)
    monkeypatch.setenv("TEST_SECRETS", str(tmp_path / "secrets"))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "PACK_TOKEN").write_text(TOKEN)
    project.plugin("vault", SECRETS)
    folder = tmp_path / "repositories"
    folder.mkdir()
    make_repository(folder, "pack").commit(package_files("pack"))
    with serve_http(folder, {"*": ("", TOKEN)}) as http, watched(TOKEN) as seen:
        project.write(
            "recipe.toml",
            f"""
            [image.science]
            python = "3.11"
            base = "python:3.11-slim"
            git = [{{ url = "{http.url("pack")}", token = {{ secret = "PACK_TOKEN" }} }}]

            [task.report]
            image = "science"
            command = "python -c 'import pack; print(pack.SAYS)' > {{outputs.report}}"
            outputs.report = "build/report.txt"
            """,
        )
        answer = project.coopery("run", "-r", "docker")
        assert answer.exit_code == 0, answer.stderr
        assert project.read("build/report.txt") == "pack 1.0\n"
        http.asked.clear()
        assert project.coopery("run", "-r", "docker", "--locked").exit_code == 0
        assert http.asked == []
    assert seen == []
    assert holding(project.home, TOKEN) + holding(project.root, TOKEN) == []
    shown = project.coopery("dockerfile", "science", "-r", "docker").stdout
    assert TOKEN not in shown and http.host not in shown
    found = project.coopery("show", "--json").stdout
    assert TOKEN not in json.dumps(found)
