"""How tasks end under every runtime: in time, when told to, and with all that they started."""

from __future__ import annotations

import signal
import time

import pytest

from coopery.testing.projects import Project
from coopery.testing.suites.tasking import SECONDS, RuntimeFixtures, processes, wait_until

_MAY = """
    from coopery.dependencies import Invocation
    from coopery.hooks import hookimpl
    from coopery.recipes import Facet
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class May:
        text: str

    @hookimpl
    def declare_facets():
        return [Facet(noun="task", key="may", type=str, wrap=May, action=True)]

    @hookimpl
    def plan_task(recipe, instance):
        if may := instance.task.facet(May):
            return Invocation(command=("sh", "-c", may.text), shown="may", skip_codes=(126,))
"""
"""A plugin whose tasks may say by exit code 126 that they had nothing to do."""


class LastingSuite(RuntimeFixtures):
    """Of the runtime suite: timeouts, daemons, interrupts, skipping, logs, peak memory."""

    def test_a_timeout_ends_all_of_a_task(self, project: Project, marker: str) -> None:
        self.can("timeout")
        command = f"sh -c \"trap '' TERM; sleep 300; : {marker}\" & sleep 300; : {marker}"
        self.recipe(project, f"[task.a]\ntimeout = '500ms'\ncommand = '''{command}'''\n")
        started = time.monotonic()
        self.fail(project, "task-timeout")
        assert time.monotonic() - started < SECONDS
        assert not processes(marker)

    def test_a_daemon_ends_with_its_task(self, project: Project, marker: str) -> None:
        self.can("daemons")
        command = f'setsid sh -c "sleep 300; : {marker}" > /dev/null 2>&1 &'
        self.recipe(project, f"[task.a]\ncommand = '''{command}'''\n")
        self.succeed(project)
        assert not processes(marker)

    def test_an_interrupt_ends_all_of_a_run(self, project: Project, marker: str) -> None:
        self.can("cancel")
        self.recipe(project, f"[task.a]\ncommand = 'sleep 300; : {marker}'\noutputs.o = 'o'\n")
        run = project.start("run", "-r", self.runtime)
        try:
            wait_until(lambda: len(processes(marker)) > 0, "the start of the task")
            run.send_signal(signal.SIGINT)
            _, told = run.communicate(timeout=SECONDS)
        finally:
            run.kill()
        assert run.returncode == 130, told
        assert not processes(marker) and not (project.root / "o").exists()

    def test_a_log_grows_while_a_task_runs(self, project: Project, marker: str) -> None:
        go = project.root / "go"
        self.recipe(
            project,
            f"[task.a]\ncommand = 'echo {marker}; n=0; "
            f"while test ! -e {go} && test $n -lt 600; do sleep 0.1; n=$((n+1)); done'\n",
        )
        if "cancel" in self.cannot:
            pytest.skip(f"{self.runtime} could not be stopped: {self.cannot['cancel']}")
        run = project.start("run", "-r", self.runtime)

        def written() -> bool:
            logs = project.home.rglob("*.log")
            return any(marker in path.read_text("utf-8", "replace") for path in logs)

        try:
            wait_until(written, "the first line of the log")
            assert run.poll() is None
            run.send_signal(signal.SIGINT)
            run.communicate(timeout=SECONDS)
        finally:
            run.kill()

    def test_a_command_says_that_it_is_skipped(self, project: Project) -> None:
        self.can("skip-codes")
        project.plugin("may", _MAY)
        self.recipe(project, "[task.a]\nmay = 'exit 126'\n[task.b]\nmay = 'true'\n")
        steps = self.succeed(project)
        assert [steps[name]["state"] for name in "ab"] == ["skipped", "succeeded"]
        assert steps["a"]["facts"]["exit_code"] == 126 and steps["a"]["reason"]["code"] == "said-so"
        self.recipe(project, "[task.a]\nmay = 'exit 125'\n")
        self.fail(project, "task-failed")

    def test_peak_memory_is_told(self, project: Project) -> None:
        self.can("peak-memory")
        self.can("python")
        self.recipe(
            project,
            """
            [task.a]
            command = ["python3", "-c", "x = b'x' * (100 * 1024 * 1024)"]

            [task.b]
            command = ["true"]
            """,
        )
        steps = self.succeed(project)
        assert steps["a"]["facts"]["peak_memory"] > 100 * 1024 * 1024
        assert 0 < steps["b"]["facts"]["peak_memory"] < steps["a"]["facts"]["peak_memory"]
