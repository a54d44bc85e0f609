"""What a task may count on of its inputs, outputs and folders under every runtime."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from coopery.testing.projects import Project
from coopery.testing.suites.tasking import RuntimeFixtures


class ChannelsSuite(RuntimeFixtures):
    """Of the runtime suite: inputs, outputs, gathered folders, fixed paths, sources."""

    def test_inputs_are_read_only_in_fact(self, project: Project) -> None:
        """Whether writing fails or goes to a copy, nobody else sees it."""
        self.can("read-only")
        project.write("in.txt", "x")
        project.write("folder/a", "x")
        self.recipe(
            project,
            """
            [task.a]
            command = '''
            echo y > {inputs.file}; echo y > {inputs.folder}/a; touch {inputs.folder}/b
            rm -f {inputs.folder}/a; chmod 777 {inputs.file}; echo made > {outputs.o}
            '''
            inputs.file = "in.txt"
            inputs.folder = "folder"
            outputs.o = {}

            [task.b]
            command = "rm -rf {inputs.i}; echo y > {inputs.i}; true"
            inputs.i = { from = "a.o" }

            [task.c]
            command = "cat {inputs.i} > {outputs.o}"
            inputs.i = { from = "a.o" }
            outputs.o = "c"
            """,
        )
        mode = (project.root / "in.txt").stat().st_mode
        self.succeed(project, "a")
        self.call(project, "b")
        self.succeed(project, "c")
        assert project.read("c") == "made\n"
        assert project.read("in.txt") == "x" and project.read("folder/a") == "x"
        assert [path.name for path in (project.root / "folder").iterdir()] == ["a"]
        assert (project.root / "in.txt").stat().st_mode == mode

    def test_folders_links_and_exec_bits_are_kept(self, project: Project) -> None:
        project.write("src/tool", "#!/bin/sh\necho ran\n").chmod(0o755)
        (project.root / "src/link").symlink_to("tool")
        (project.root / "src/empty").mkdir()
        self.recipe(
            project,
            """
            [task.a]
            command = "cp -R {inputs.src}/. {outputs.tree}"
            inputs.src = "src"
            outputs.tree = "build/tree/"

            [task.b]
            command = '''
            cd {inputs.i} && test -d empty && test -L link && ./link > {outputs.o}
            '''
            inputs.i = { from = "a.tree" }
            outputs.o = "build/b"
            """,
        )
        self.succeed(project)
        assert project.read("build/b") == "ran\n"
        tree = project.root / "build/tree"
        assert os.access(tree / "tool", os.X_OK) and (tree / "empty").is_dir()
        assert os.readlink(tree / "link") == "tool"  # noqa: PTH115 - the text matters

    def test_an_output_without_a_slash_is_not_made_beforehand(self, project: Project) -> None:
        self.recipe(
            project,
            """
            [task.a]
            command = "test ! -e {outputs.o} && test -d {outputs.f} && mkdir {outputs.o}"
            outputs.o = "build/o"
            outputs.f = "build/f/"
            """,
        )
        self.succeed(project)
        assert (project.root / "build/o").is_dir() and (project.root / "build/f").is_dir()

    def test_instances_are_gathered_as_folders(self, project: Project) -> None:
        self.can("gathered")
        self.recipe(
            project,
            """
            [task.fit]
            matrix.fold = [0, 1]
            command = "echo {matrix.fold} > {outputs.m}"
            outputs.m = { name = "m.txt" }

            [task.all]
            command = "cd {inputs.m} && cat fold=0/m.txt fold=1/m.txt > {outputs.o}"
            inputs.m = { from = "fit.m" }
            outputs.o = "all"
            """,
        )
        self.succeed(project)
        assert project.read("all") == "0\n1\n"

    def test_a_gathered_folder_is_read_only_too(self, project: Project) -> None:
        """Not only its members: nothing is added beside them, and none is taken away."""
        self.can("gathered")
        self.can("read-only")
        self.recipe(
            project,
            """
            [task.fit]
            matrix.fold = [0, 1]
            command = "echo {matrix.fold} > {outputs.m}"
            outputs.m = { name = "m.txt" }

            [task.a]
            command = '''
            touch {inputs.m}/new && exit 3; mkdir {inputs.m}/fold=0/new && exit 4
            rm -rf {inputs.m}/fold=1; touch {inputs.m}/fold=0/m.txt && exit 5
            cd {inputs.m} && cat fold=0/m.txt fold=1/m.txt > {outputs.o}
            '''
            inputs.m = { from = "fit.m" }
            outputs.o = "all"
            """,
        )
        self.succeed(project)
        assert project.read("all") == "0\n1\n"

    def test_fixed_paths(self, project: Project) -> None:
        self.can("mounts")
        project.write("in.txt", "x\n")
        place = f"/{secrets.token_hex(8)}"
        self.recipe(
            project,
            f"""
            [task.a]
            command = "cat {place}/in/in.txt > {place}/out/o.txt; ls /usr/bin > /dev/null"
            inputs.i = {{ path = "in.txt", mount = "{place}/in/in.txt" }}
            outputs.o = {{ path = "o.txt", mount = "{place}/out/o.txt" }}
            """,
        )
        self.succeed(project)
        assert project.read("o.txt") == "x\n"
        assert not Path(place).exists()

    def test_fixed_paths_of_a_gathered_input_and_beside_an_output(self, project: Project) -> None:
        """Also where an input lies in the folder of an output: of it the output has nothing."""
        self.can("mounts")
        self.can("gathered")
        project.write("in.txt", "x\n")
        place = f"/{secrets.token_hex(8)}"
        self.recipe(
            project,
            f"""
            [task.fit]
            matrix.fold = [0, 1]
            command = "echo {{matrix.fold}} > {{outputs.m}}"
            outputs.m = {{ name = "m.txt" }}

            [task.a]
            command = '''
            touch {place}/all/new && exit 3
            cat {place}/deep/in/in.txt {place}/all/fold=*/m.txt > {place}/tree/o.txt
            '''
            inputs.all = {{ from = "fit.m", mount = "{place}/all" }}
            inputs.i = {{ path = "in.txt", mount = "{place}/deep/in/in.txt" }}
            outputs.o = {{ path = "tree/", mount = "{place}/tree/" }}
            """,
        )
        self.succeed(project)
        assert project.read("tree/o.txt") == "x\n0\n1\n"
        assert [path.name for path in (project.root / "tree").iterdir()] == ["o.txt"]
        assert not Path(place).exists()

    def test_mounts_that_would_hide_what_tasks_need_are_refused(self, project: Project) -> None:
        """The same under each runtime, all at once, before anything runs."""
        self.can("mounts")
        project.write("in/x", "x\n")
        places = (
            *("", "data", "./data", "/data/../etc", "//data", "/data//x", "/", "/etc", "/var"),
            *("/tmp", "/usr/bin", "/proc", "/proc/data", "/sys/x", "/dev", "/dev/shm/x", "/work"),
            *("/work/data", "/opt/coopery", "/opt/coopery/env", "/coopery", "/coopery/inputs/i/x"),
        )
        tasks = (
            f"""
            [task.t{number}]
            command = ["true"]
            inputs.i = {{ path = "in", mount = "{place}" }}
            [task.u{number}]
            command = ["true"]
            outputs.o = {{ path = "o{number}", mount = "{place.rstrip("/")}/o" }}
            """
            for number, place in enumerate(places)
        )
        self.recipe(project, "".join(tasks))
        answer = self.call(project)
        assert answer.exit_code == 2, answer.stderr
        told = set(re.findall(r"^error: \S*recipe.toml:\d+.* \[bad-mount\]$", answer.stderr, re.M))
        named = {name for line in told for name in re.findall(r"task\.([tu]\d+)\b", line)}
        assert named == {f"{x}{n}" for x in "tu" for n in range(len(places))}

    def test_fixed_paths_inside_each_other_are_refused(self, project: Project) -> None:
        """All of them at once; what lies inside an input could not be made there."""
        self.can("mounts")
        project.write("in/x", "x\n")
        place = f"/{secrets.token_hex(8)}"
        self.recipe(
            project,
            f"""
            [task.a]
            command = ["true"]
            inputs.i = {{ path = "in", mount = "{place}/in" }}
            outputs.o = {{ path = "o", mount = "{place}/in/o" }}

            [task.b]
            command = ["true"]
            inputs.i = {{ path = "in", mount = "{place}/in" }}
            inputs.j = {{ path = "in", mount = "{place}/in/x/y" }}

            [task.c]
            command = ["true"]
            inputs.i = {{ path = "in", mount = "{place}/out/in" }}
            outputs.o = {{ path = "c/", mount = "{place}/out/" }}
            outputs.p = {{ path = "p", mount = "{place}/out/deep/p" }}

            [task.d]
            command = ["true"]
            inputs.i = {{ path = "in", mount = "{place}/in" }}
            inputs.j = {{ path = "in", mount = "{place}/in/" }}
            """,
        )
        answer = self.call(project)
        assert answer.exit_code == 2, answer.stderr
        assert answer.slugs == ("bad-mount",) * 4 + ("duplicate-name",)
        assert len(re.findall(r"^error: \S*recipe.toml:\d+", answer.stderr, re.M)) == 5

    def test_sources_lie_under_the_working_folder(self, project: Project) -> None:
        self.can("sources")
        project.write("src/a.txt", "one")
        self.recipe(
            project,
            """
            [image.with]
            sources = ["src"]

            [task.a]
            image = "with"
            command = "cat src/a.txt > {outputs.o}"
            outputs.o = "o"
            """,
        )
        self.succeed(project)
        assert project.read("o") == "one"
        project.write("src/a.txt", "two")
        self.succeed(project)
        assert project.read("o") == "two"

    def test_programs_of_the_environment_come_before_any_path(self, project: Project) -> None:
        """`env.PATH` replaces the rest; nothing in it is filled in."""
        self.can("environment")
        self.recipe(
            project,
            """
            [image.with]
            env.PATH = "/nowhere/$PATH:/usr/bin:/bin"

            [task.a]
            image = "with"
            command = "printenv PATH > {outputs.o}"
            outputs.o = "a"

            [task.b]
            image = "with"
            env.PATH = "/elsewhere:/bin:/usr/bin"
            command = "printenv PATH > {outputs.o}"
            outputs.o = "b"
            """,
        )
        self.succeed(project)
        first, _, rest = project.read("a").strip().partition(":")
        assert first.startswith("/") and first.endswith("/bin")
        assert rest == "/nowhere/$PATH:/usr/bin:/bin"
        last, _, rest = project.read("b").strip().partition(":")
        assert (last, rest) == (first, "/elsewhere:/bin:/usr/bin")

    def test_nothing_of_a_task_is_left(self, project: Project, marker: str) -> None:
        """Neither of one that succeeded nor of one that failed."""
        self.can("scratch")
        self.recipe(
            project,
            f"""
            [task.a]
            command = "touch {marker}; mkdir -m 0 $HOME/{marker}; touch $TMPDIR/{marker}; exit 1"

            [task.b]
            command = "touch {marker}; mkdir -m 0 $HOME/{marker}; touch $TMPDIR/{marker}"
            """,
        )
        assert self.call(project).exit_code == 1
        left = [path for top in (project.root, project.home) for path in top.rglob(f"*{marker}*")]
        assert not left
