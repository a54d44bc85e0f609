"""The runtimes do what every runtime must: the builtin one, and a third party's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import pytest

from coopery.testing import Project, make_project
from coopery.testing.suites import RuntimeSuite

CELLAR = Path(__file__).parents[1] / "thirdparty" / "src" / "cellar"


class TestLocal(RuntimeSuite):
    """The plugin `local`."""

    runtime = "local"
    cannot: ClassVar = {} if os.geteuid() == 0 else {"mounts": "it needs a mount namespace"}


class TestDocker(RuntimeSuite):
    """The plugin `docker`, with images that a plugin of the tests makes by hand."""

    runtime = "docker"
    head = """
        [defaults]
        image = "handmade"

        [image.handmade]

    """
    task_image = "handmade"

    @pytest.fixture
    def project(self, contained: Project) -> Project:
        return contained


class TestBare(RuntimeSuite):
    """The runtime of the example of a third party's distribution."""

    runtime = "bare"
    cannot: ClassVar = {
        "cancel": "it waits for the command",
        "daemons": "it starts processes without watching over them",
        "environment": "tasks see the scratch folder and PATH",
        "functions": "it knows no files beside the command",
        "gathered": "an input is one path",
        "mounts": "it mounts nothing",
        "peak-memory": "it does not measure",
        "read-only": "tasks are given the very files",
        "scratch": "its tasks have no HOME",
        "secrets": "it refuses recipes that name some",
        "skip-codes": "it knows of no such codes",
        "sources": "images have only variables",
        "timeout": "it waits for the command",
    }

    @pytest.fixture
    def project(self, tmp_path: Path) -> Project:
        project = make_project(tmp_path)
        project.plugin("cellar", CELLAR)
        return project
