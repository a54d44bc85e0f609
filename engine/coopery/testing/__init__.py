"""For plugin authors' tests: a project to write recipes in, and the installed command to run them.

from coopery.testing import make_project

def test_greets(tmp_path):
    project = make_project(tmp_path)
    project.write("recipe.toml", '[task.a]\\ncommand = "echo hi"\\n')
    assert project.coopery("run").exit_code == 0

`coopery.testing.suites` holds the tests that each runtime, scheduler and store must pass. It wants
pytest; this module does not.
"""

from __future__ import annotations

from coopery.testing.projects import Answer, Project, call, fork_calls, make_project, performed

__all__ = ["Answer", "Project", "call", "fork_calls", "make_project", "performed"]
