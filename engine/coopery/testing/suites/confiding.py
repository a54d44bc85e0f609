"""What becomes of a task's secrets under every runtime: it has them, and nothing else ever does."""

from __future__ import annotations

import os
import secrets
import signal
from pathlib import Path

import pytest

from coopery.testing.projects import Project
from coopery.testing.suites.tasking import SECONDS, RuntimeFixtures, processes, wait_until
from coopery.testing.traces import traces, traces_in, traces_in_processes

_MEMORY = Path("/dev/shm")


class ConfidingSuite(RuntimeFixtures):
    """Of the runtime suite: secrets as files and variables, masked logs, and no traces."""

    @pytest.fixture
    def canary(self) -> str:
        """A value that is nowhere else."""
        return f"canary+/{secrets.token_hex(12)}'\"é"

    def clean(self, canary: str, project: Project) -> None:
        """Nothing of the value is on the disk, in memory, or in a process that lives."""
        left = traces(canary, [project.root, project.home, *_kept()])
        assert not left and not traces_in_processes(canary, ("cmdline", "environ"))

    def test_a_secret_is_a_file_that_only_the_task_reads(
        self, project: Project, canary: str
    ) -> None:
        self.can("secrets")
        self.recipe(
            project,
            """
            [task.a]
            command = '''test "{secrets.token}" = "$COOPERY_SECRET_TOKEN" &&
            test ! -w "{secrets.token}" -o "$(id -u)" = 0 &&
            if echo changed 2> /dev/null > "{secrets.token}"; then exit 5; fi;
            wc -c < "{secrets.token}" > {outputs.o}; cksum < "{secrets.token}" >> {outputs.o}'''
            secrets.token = { secret = "API_TOKEN" }
            outputs.o = "o"

            [task.plain]
            command = "printf %s 'TEXT' | cksum > {outputs.o}"
            outputs.o = "p"
            """,
        )
        with_it = {"API_TOKEN": canary}
        steps = self.succeed(project, env=with_it)
        assert project.read("o").split()[0] == str(len(canary.encode()))
        assert steps["a"]["secrets"] == {
            "token": {"secret": "API_TOKEN", "as": "file", "rotation": None}
        }
        self.clean(canary, project)
        # A dry run and one in which all is remembered read none.
        assert project.coopery("run", "-r", self.runtime, "--dry-run").exit_code == 0
        assert all(step["cached"] for step in self.succeed(project).values())

    def test_a_secret_is_a_variable_of_the_task_alone(self, project: Project, canary: str) -> None:
        self.can("secrets")
        self.recipe(
            project,
            """
            [task.a]
            command = 'printf %s "$TOKEN" | cksum > {outputs.o}; test -z "$COOPERY_SECRET_TOKEN"'
            secrets.TOKEN = { secret = "API_TOKEN", as = "variable" }
            outputs.o = "o"

            [task.b]
            command = 'printf %s "$TOKEN$API_TOKEN" > {outputs.o}'
            outputs.o = "p"
            """,
        )
        self.succeed(project, env={"API_TOKEN": canary})
        assert int(project.read("o").split()[1]) == len(canary.encode())
        assert project.read("p") == ""
        self.clean(canary, project)

    def test_a_variable_has_any_text(self, project: Project) -> None:
        self.can("secrets")
        value = "one\ntwo  'three' \"$HOME\" `id` \\ é\n\n"
        self.recipe(
            project,
            """
            [task.a]
            command = 'printf %s "$TOKEN" > {outputs.o}'
            secrets.TOKEN = { secret = "API_TOKEN", as = "variable" }
            outputs.o = "o"
            """,
        )
        self.succeed(project, env={"API_TOKEN": value})
        assert project.read("o") == value

    def test_what_it_prints_is_masked_across_borders(self, project: Project, canary: str) -> None:
        self.can("secrets")
        self.recipe(
            project,
            """
            [task.a]
            command = '''
            first=$(printf %s "$TOKEN" | cut -c 1-5); rest=$(printf %s "$TOKEN" | cut -c 6-)
            printf %s "$first"; sleep 0.3; printf '%s\\n' "$rest"
            printf %s "$first" >&2; sleep 0.3; printf '%s\\n' "$rest" >&2
            cat {secrets.file}; cat {secrets.file} | base64; head -c 70000 /dev/zero | tr '\\0' x
            cat {secrets.file}; exit 3
            '''
            secrets.TOKEN = { secret = "API_TOKEN", as = "variable" }
            secrets.file = { secret = "API_TOKEN" }
            """,
        )
        answer = self.call(project, "-v", "--debug", env={"API_TOKEN": canary})
        assert answer.exit_code == 1
        assert not traces_in((answer.stdout + answer.stderr).encode(), canary)
        step = next(s for s in answer.json["steps"] if s["step"] == "a")
        assert Path(step["log"]).read_text().count("****") >= 4
        self.clean(canary, project)

    def test_another_rotation_runs_again(self, project: Project, canary: str) -> None:
        self.can("secrets")
        text = """
            [task.a]
            command = "true > {outputs.o}"
            secrets.token = { secret = "API_TOKEN", rotation = ROTATION }
            outputs.o = "o"
        """
        self.recipe(project, text.replace("ROTATION", "1"))
        self.succeed(project, env={"API_TOKEN": canary})
        assert self.succeed(project, env={"API_TOKEN": "other"})["a"]["cached"]
        self.recipe(project, text.replace("ROTATION", "2"))
        step = self.succeed(project, env={"API_TOKEN": canary})["a"]
        assert not step["cached"] and "API_TOKEN, rotation 1 -> " in step["reason"]["text"]

    def test_a_missing_secret_fails_its_task_alone(self, project: Project) -> None:
        self.can("secrets")
        self.recipe(
            project,
            """
            [task.a]
            command = "true"
            secrets.token = { secret = "NOWHERE_TO_BE_FOUND" }

            [task.b]
            command = "true"
            """,
        )
        answer = self.call(project)
        assert answer.exit_code == 3
        states = {step["step"]: step["state"] for step in answer.json["steps"]}
        assert (states["a"], states["b"]) == ("failed", "succeeded")
        assert "the variable NOWHERE_TO_BE_FOUND" in answer.told("secret-missing")

    def test_nothing_is_left_of_a_run_that_was_killed(
        self, project: Project, canary: str, marker: str
    ) -> None:
        self.can("secrets")
        self.can("cancel")
        self.recipe(
            project,
            f"""
            [task.a]
            command = 'cat {{secrets.file}}; echo $TOKEN; sleep 300; : {marker}'
            secrets.TOKEN = {{ secret = "API_TOKEN", as = "variable" }}
            secrets.file = {{ secret = "API_TOKEN" }}

            [task.b]
            command = "true"
            """,
        )
        run = project.start("run", "-r", self.runtime, "a", env={"API_TOKEN": canary})
        try:
            wait_until(lambda: len(processes(marker)) > 0, "the start of the task")
            # While it runs: in memory, its own variables and those that coopery was started with.
            assert not traces(canary, [project.root, project.home])
            assert not traces_in_processes(canary)
            assert traces(canary, _kept())
        finally:
            os.kill(run.pid, signal.SIGKILL)
            run.communicate(timeout=SECONDS)
        assert not traces(canary, [project.root, project.home])
        self.succeed(project, "b")
        wait_until(lambda: not processes(marker), "the end of what was left")
        self.clean(canary, project)


def _kept() -> list[Path]:
    """The folders of secrets of this user, of runs that live or died."""
    return sorted(_MEMORY.glob(f"coopery-secrets-{os.geteuid()}-*"))
