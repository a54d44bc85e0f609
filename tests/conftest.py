"""Fixtures for all tests: a folder with a recipe, and the installed command."""

from __future__ import annotations

from pathlib import Path

import pytest

from coopery.testing import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project with a home folder of its own."""
    return make_project(tmp_path)
