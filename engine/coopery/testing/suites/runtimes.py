"""What a task may count on under every runtime, seen as a user does: recipes and the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from coopery.testing.projects import Project, make_project
from coopery.testing.suites.channels import ChannelsSuite
from coopery.testing.suites.confiding import ConfidingSuite
from coopery.testing.suites.lasting import LastingSuite


class RuntimeSuite(ChannelsSuite, ConfidingSuite, LastingSuite):
    """What a runtime must do. Name it: `runtime`; see `RuntimeFixtures` for what else to say."""

    # -- commands ---------------------------------------------------------------------------------

    def test_a_command_reads_and_writes(self, project: Project) -> None:
        project.write("data/my in.txt", "hello\n")
        self.recipe(
            project,
            """
            [task.a]
            command = ["cp", "{inputs.i}", "{outputs.o}"]
            inputs.i = "data/my in.txt"
            outputs.o = "build/my out.txt"

            [task.b]
            command = "tr a-z A-Z < '{inputs.i}' > {outputs.o}"
            inputs.i = { from = "a.o" }
            outputs.o = "build/b"
            """,
        )
        steps = self.succeed(project)
        assert project.read("build/my out.txt") == "hello\n"
        assert project.read("build/b") == "HELLO\n"
        assert all(not step["cached"] for step in steps.values() if step["kind"] == "task")
        assert all(step["cached"] for step in self.succeed(project).values())

    def test_arguments_and_braces_arrive_as_they_are(self, project: Project) -> None:
        self.recipe(
            project,
            """
            [task.a]
            params.text = "a b 'c' \\"d\\" $HOME {x} * é"
            command = ["sh", "-c", 'printf "%s|" "$@" > {outputs.o}', "sh", "{params.text}",
                       "", "{{inputs.i}}", "-n"]
            outputs.o = "o"
            """,
        )
        self.succeed(project)
        assert project.read("o") == "a b 'c' \"d\" $HOME {x} * é||{inputs.i}|-n|"

    def test_a_missing_output_is_named(self, project: Project) -> None:
        self.recipe(project, "[task.a]\ncommand = ['true']\noutputs.model = 'm'\n")
        step = self.fail(project, "missing-output")
        assert "'model'" in step["problems"][0]["message"]
        assert not (project.root / "m").exists()

    def test_an_exit_code_is_kept(self, project: Project) -> None:
        self.recipe(project, "[task.a]\ncommand = 'echo to the log; exit 7'\noutputs.o = 'o'\n")
        step = self.fail(project)
        self.can("exit-code")
        assert step["facts"]["exit_code"] == 7
        assert "to the log\n" in Path(step["log"]).read_text()

    def test_a_command_that_is_not_there_fails(self, project: Project) -> None:
        self.recipe(project, "[task.a]\ncommand = ['no-such-command-here']\n")
        assert "no-such-command-here" in self.fail(project)["problems"][0]["message"]

    def test_stdin_is_empty(self, project: Project) -> None:
        self.recipe(project, "[task.a]\ncommand = 'cat > {outputs.o}'\noutputs.o = 'o'\n")
        self.succeed(project)
        assert project.read("o") == ""

    def test_much_output_reaches_the_log(self, project: Project) -> None:
        line = "x" * 99
        command = f"yes {line} | head -n 50000; yes e | head -n 5 >&2"
        self.recipe(project, f"[task.a]\ncommand = '{command}'\n")
        log = Path(self.succeed(project)["a"]["log"]).read_text()
        assert log.count(f"{line}\n") == 50000 and log.count("e\n") == 5

    # -- environment ------------------------------------------------------------------------------

    def test_variables_that_are_declared_or_passed(self, project: Project) -> None:
        self.recipe(
            project,
            """
            [task.a]
            command = 'echo "$GREETING|$PASSED|${{UNSET-none}}|${{LEAK-none}}" > {outputs.o}'
            outputs.o = "o"
            env.GREETING = "hi 'there'"
            pass_env = ["PASSED", "UNSET"]
            """,
        )
        self.succeed(project, env={"PASSED": "one", "LEAK": "no"})
        assert project.read("o") == "hi 'there'|one|none|none\n"

    def test_the_environment_is_the_same_everywhere(self, project: Project) -> None:
        """Semantics: fixed variables, a fresh folder to work in, homes of its own."""
        self.can("environment")
        project.write("in.txt", "x")
        self.recipe(
            project,
            """
            [task.a]
            command = '''
            {{ echo "$LANG|$TZ|$PYTHONNOUSERSITE"; ls -A; test -w . && test -w "$HOME" &&
            test -w "$TMPDIR" && echo > "$HOME/h" && echo > "$TMPDIR/t" &&
            test "$COOPERY_INPUT_I" = "{inputs.i}" && test "$COOPERY_OUTPUT_O" = "{outputs.o}" &&
            command -v ls > /dev/null && test -z "$COOPERY_HOME" && echo good; }} > {outputs.o}
            '''
            inputs.i = "in.txt"
            outputs.o = "o"
            """,
        )
        self.succeed(project)
        assert project.read("o") == "C.UTF-8|UTC|1\ngood\n"

    # -- sameness ---------------------------------------------------------------------------------

    def test_functions_run(self, project: Project) -> None:
        self.can("functions")
        project.write(
            "recipe.py",
            """
            from pathlib import Path
            from coopery import Image, task

            own = IMAGE

            @task(image=own, inputs={"raw": "in.txt"}, outputs={"table": "out.txt"})
            def prepare(raw: Path, table: Path, seed: int = 3) -> None:
                table.write_text(raw.read_text() * seed)
            """.replace("IMAGE", f"Image({self.task_image!r})" if self.task_image else "None"),
        )
        project.write("in.txt", "ab")
        self.succeed(project)
        assert project.read("out.txt") == "ababab"
        self.succeed(project, "--set", "prepare.seed=1")
        assert project.read("out.txt") == "ab"

    def test_outputs_and_keys_are_those_of_local(self, project: Project, tmp_path: Path) -> None:
        """The same recipe has the same outputs and keys under every runtime."""
        if self.runtime == "local" or self.head:
            pytest.skip("it is compared with the runtime local, without an image")
        self.recipe(
            project,
            """
            [task.a]
            command = "echo one > {outputs.o}/x; ln -s x {outputs.o}/y; chmod +x {outputs.o}/x"
            outputs.o = "build/o/"
            """,
        )
        ours = self.succeed(project)["a"]
        beside = make_project(_folder(tmp_path / "beside"))
        beside.write("recipe.toml", project.read("recipe.toml"))
        theirs = beside.run("-r", "local")["a"]
        assert (ours["key"], ours["outputs"]) == (theirs["key"], theirs["outputs"])


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
