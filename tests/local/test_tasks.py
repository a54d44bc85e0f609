"""Tasks of the embedded runtime, as a user meets them."""

from __future__ import annotations

import os
import time
from datetime import datetime

import pytest

from coopery.testing import Project, performed

ROOT = os.geteuid() == 0


def test_a_task_reads_and_writes_channels(project: Project) -> None:
    project.write("data/in.txt", "hello\n")
    project.write(
        "recipe.toml",
        """
        [task.copy]
        command = ["cp", "{inputs.text}", "{outputs.copy}"]
        inputs.text = "data/in.txt"
        outputs.copy = "build/out.txt"

        [task.shout]
        command = "tr a-z A-Z < $COOPERY_INPUT_TEXT > $COOPERY_OUTPUT_LOUD"
        inputs.text = "build/out.txt"
        outputs.loud = "build/loud.txt"
        """,
    )
    steps = project.run()
    assert performed(steps) == ["copy", "shout"]
    assert project.read("build/loud.txt") == "HELLO\n"
    assert steps["copy"]["facts"]["exit_code"] == 0
    assert steps["copy"]["facts"]["peak_memory"] > 0
    assert steps["copy"]["notes"] == ["unpinned"]
    again = project.run()
    assert performed(again) == []
    assert {s["reason"]["code"] for s in again.values()} == {"cached"}


def test_a_touched_but_equal_input_runs_nothing(project: Project) -> None:
    file = project.write("in.txt", "x")
    project.write(
        "recipe.toml",
        '[task.a]\ncommand = "cat {inputs.i} > {outputs.o}"\n'
        'inputs.i = "in.txt"\noutputs.o = "o"\n',
    )
    project.run()
    os.utime(file, (1, 1))
    assert performed(project.run()) == []
    file.write_text("y")
    assert project.forecast() == {"a": "run"}
    steps = project.run()
    assert steps["a"]["reason"] == {"code": "changed", "text": "input i (in.txt) changed"}


def test_equal_output_stops_the_wave(project: Project) -> None:
    source = project.write("in.txt", "1\n2\n")
    project.write(
        "recipe.toml",
        """
        [task.head]
        command = "head -n 1 {inputs.i} > {outputs.o}"
        inputs.i = "in.txt"
        outputs.o = {}

        [task.use]
        command = "cat {inputs.i} > {outputs.o}"
        inputs.i = { from = "head.o" }
        outputs.o = "used"
        """,
    )
    project.run()
    source.write_text("1\n3\n")
    assert project.forecast() == {"head": "run", "use": "depends"}
    assert performed(project.run()) == ["head"]


def test_a_missing_output_is_named(project: Project) -> None:
    project.write("recipe.toml", '[task.a]\ncommand = ["true"]\noutputs.model = "m"\n')
    answer = project.coopery("run")
    assert answer.exit_code == 1
    assert "its output 'model' is missing [missing-output]" in answer.stderr
    assert not (project.root / "m").exists()


def test_a_failure_shows_the_end_of_its_log(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [task.a]
        command = "seq 1 100; echo '\\u0007boom'; exit 3"
        outputs.o = {}

        [task.b]
        command = "true {inputs.i}"
        inputs.i = { from = "a.o" }

        [task.c]
        command = ["true"]
        """,
    )
    answer = project.coopery("run", "--json")
    assert answer.exit_code == 1
    states = {step["step"]: step["state"] for step in answer.json["steps"]}
    assert states == {"a": "failed", "b": "skipped", "c": "succeeded"}
    assert "exit code 3" in answer.stderr
    assert "| 100" in answer.stderr
    assert "| 1\n" not in answer.stderr
    assert "\x07" not in answer.stderr
    assert "\\x07boom" in answer.stderr


def test_inputs_are_read_only(project: Project) -> None:
    project.write("in.txt", "x")
    project.write("folder/a", "x")
    project.write(
        "recipe.toml",
        """
        [task.a]
        command = \"\"\"
        ! echo y > {inputs.file} && ! echo y > {inputs.folder}/a && ! touch {inputs.folder}/b
        \"\"\"
        inputs.file = "in.txt"
        inputs.folder = "folder"
        """,
    )
    if ROOT:  # permission bits stop nobody else
        project.run()
    assert project.read("in.txt") == "x"
    assert sorted(p.name for p in (project.root / "folder").iterdir()) == ["a"]


def test_outputs_keep_what_they_are_made_of(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [task.make]
        command = \"\"\"
        mkdir -p {outputs.o}/empty {outputs.o}/sub && cd {outputs.o}
        echo '#!/bin/sh' > sub/tool && chmod +x sub/tool && ln -s sub/tool link
        \"\"\"
        outputs.o = "build/tree"

        [task.check]
        command = "cd {inputs.i} && test -d empty && test -x sub/tool && test -L link"
        inputs.i = { from = "make.o" }
        """,
    )
    project.run()
    tree = project.root / "build/tree"
    assert (tree / "empty").is_dir()
    assert os.access(tree / "sub/tool", os.X_OK)
    assert os.readlink(tree / "link") == "sub/tool"  # noqa: PTH115 - the text matters


@pytest.mark.parametrize(
    ("command", "slug"),
    [
        ("mkfifo {outputs.o}", "special-file"),
        ("mkdir {outputs.o}; mkfifo {outputs.o}/x", "special-file"),
        ("mkdir {outputs.o}; ln -s /etc/passwd {outputs.o}/x", "link-outside"),
        ("mkdir {outputs.o}; ln -s ../../x {outputs.o}/x", "link-outside"),
    ],
)
def test_what_an_output_may_not_hold(project: Project, command: str, slug: str) -> None:
    project.write("recipe.toml", f"[task.a]\ncommand = '{command}'\noutputs.o = 'o'\n")
    answer = project.coopery("run")
    assert answer.exit_code == 1
    assert f"[{slug}]" in answer.stderr
    assert not (project.root / "o").exists()


def test_nothing_a_user_can_write_shares_an_inode_with_the_store(project: Project) -> None:
    project.write("recipe.toml", '[task.a]\ncommand = "echo x > {outputs.o}"\noutputs.o = "o"\n')
    project.run()
    inodes = {p.stat().st_ino for p in project.home.rglob("*") if p.is_file()}
    assert (project.root / "o").stat().st_ino not in inodes
    (project.root / "o").write_text("edited")
    answer = project.coopery("run")
    assert answer.exit_code == 2
    assert "[output-edited]" in answer.stderr
    assert project.read("o") == "edited"
    project.run("--overwrite")
    assert project.read("o") == "x\n"


def test_a_removed_destination_comes_back_from_the_store(project: Project) -> None:
    project.write("recipe.toml", '[task.a]\ncommand = "echo x > {outputs.o}"\noutputs.o = "o"\n')
    project.run()
    (project.root / "o").unlink()
    assert performed(project.run()) == []
    assert project.read("o") == "x\n"


def test_a_file_that_is_not_ours_is_not_overwritten(project: Project) -> None:
    project.write("precious", "mine")
    project.write(
        "recipe.toml", '[task.a]\ncommand = "echo x > {outputs.o}"\noutputs.o = "precious"\n'
    )
    answer = project.coopery("run")
    assert answer.exit_code == 1
    assert "[output-edited]" in answer.stderr
    assert project.read("precious") == "mine"
    assert performed(project.run("--overwrite")) == []
    assert project.read("precious") == "x\n"


def test_matrix_instances_are_gathered_as_folders(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [task.fit]
        matrix.fold = [0, 1]
        matrix.kind = ["a b", "c/d"]
        command = ["sh", "-c", "echo \\"$FOLD-$KIND\\" > {outputs.m}"]
        env = { FOLD = "{matrix.fold}", KIND = "{matrix.kind}" }
        outputs.m = { name = "m.txt" }

        [task.one]
        command = "cat {inputs.m} > {outputs.o}"
        inputs.m = { from = "fit.m", at = { fold = 1, kind = "c/d" } }
        outputs.o = "one"

        [task.all]
        command = "cd {inputs.m} && find . -type f | sort > {outputs.o}"
        inputs.m = { from = "fit.m" }
        outputs.o = "all"
        """,
    )
    steps = project.run()
    assert "fit@fold=0,kind=a%20b" in steps
    assert project.read("one") == "1-c/d\n"
    assert project.read("all").splitlines() == [
        f"./fold={fold}/kind={kind}/m.txt" for fold in (0, 1) for kind in ("a%20b", "c%2Fd")
    ]


def test_one_instance_is_a_target(project: Project) -> None:
    project.write(
        "recipe.toml",
        "[task.fit]\nmatrix.fold = [0, 1]\ncommand = 'echo {matrix.fold} > {outputs.o}'\n"
        "outputs.o = 'build/{matrix.fold}'\n",
    )
    assert list(project.run("fit@fold=1")) == ["fit@fold=1"]
    assert list(project.run("fit[fold=1]")) == ["fit@fold=1"]
    assert list(project.run("build/0")) == ["fit@fold=0"]
    assert list(project.run("f*")) == ["fit@fold=0", "fit@fold=1"]
    answer = project.coopery("run", "fit@fold=7")
    assert (answer.exit_code, answer.slugs) == (2, ("unknown-target",))


def test_params_and_set(project: Project) -> None:
    project.write(
        "recipe.toml",
        "[task.a]\nparams.depth = 3\noutputs.o = 'o'\n"
        "command = 'echo {params.depth} > {outputs.o}'\n",
    )
    project.run()
    assert project.read("o") == "3\n"
    steps = project.run("--set", "a.depth=4")
    assert steps["a"]["reason"]["text"] == "parameter depth changed: 3 -> 4"
    assert project.read("o") == "4\n"
    assert performed(project.run()) == []
    answer = project.coopery("run", "--set", "a.dept=4")
    assert (answer.exit_code, answer.slugs) == (2, ("unknown-param",))


def test_always_and_force(project: Project) -> None:
    project.write(
        "recipe.toml",
        "[task.a]\ncommand = ['true', 'a']\nalways = true\n[task.b]\ncommand = ['true']\n",
    )
    project.run()
    assert performed(project.run()) == ["a"]
    assert performed(project.run("--force", "b")) == ["b"]
    assert performed(project.run("--force-all")) == ["a", "b"]


def test_the_environment_is_fixed(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [task.a]
        command = "env | sort > {outputs.o}; pwd >> {outputs.o}; ls -A >> {outputs.o}"
        outputs.o = "o"
        env.GREETING = "hi"
        pass_env = ["PASSED", "UNSET"]
        """,
    )
    steps = project.run(env={"PASSED": "one", "LEAK": "no"})
    lines = project.read("o").splitlines()
    names = {line.partition("=")[0] for line in lines if "=" in line}
    assert {"GREETING", "PASSED", "PATH", "HOME", "TMPDIR", "TZ"} <= names
    assert not {"LEAK", "UNSET", "COOPERY_HOME"} & names
    assert performed(project.run(env={"PASSED": "one", "LEAK": "yes"})) == []
    again = project.run(env={"PASSED": "two"})
    assert again["a"]["reason"]["text"] == "variable PASSED changed"
    assert steps["a"]["key"] != again["a"]["key"]


def test_a_timeout_stops_a_task(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'sleep 60 & sleep 60'\ntimeout = '300ms'\n")
    started = time.monotonic()
    answer = project.coopery("run")
    assert answer.exit_code == 1
    assert "[task-timeout]" in answer.stderr
    assert time.monotonic() - started < 10


def test_retries(project: Project) -> None:
    marker = project.root / "marker"
    project.write(
        "recipe.toml",
        f"[task.a]\nretries = 1\n"
        f"command = 'test -e {marker} || {{{{ touch {marker}; exit 1; }}}}'\n",
    )
    project.run()


def test_no_such_command(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = ['no-such-thing', '-x']\n")
    answer = project.coopery("run")
    assert answer.exit_code == 1
    assert "[command-not-found]" in answer.stderr


def test_a_failed_task_leaves_no_scratch(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'touch x; mkdir -m 0 y; exit 1'\n")
    project.coopery("run")
    assert list((project.home / "scratch").iterdir()) == []


def test_transient_outputs_are_dropped_and_remade(project: Project) -> None:
    def recipe(extra: str = "") -> None:
        project.write(
            "recipe.toml",
            "[task.a]\ncommand = 'echo transient > {outputs.o}'\noutputs.o = { transient = true }\n"
            "[task.b]\ncommand = 'cat {inputs.i} > {outputs.o}'\n"
            "inputs.i = { from = 'a.o' }\noutputs.o = 'b'\n" + extra,
        )

    recipe()
    project.run()
    objects = [p for p in (project.home / "objects").rglob("*") if p.is_file()]
    assert [p.read_text() for p in objects if p.read_text() == "transient\n"] == [
        "transient\n"
    ]  # b's own copy has the same bytes, and stays
    recipe(
        "[task.c]\ncommand = 'wc -c < {inputs.i} > {outputs.o}'\n"
        "inputs.i = { from = 'a.o' }\noutputs.o = 'c'\n"
    )
    steps = project.run()
    assert project.read("c").strip() == "10"
    assert steps["b"]["cached"]


@pytest.mark.skipif(not ROOT, reason="fixed paths need a mount namespace")
def test_fixed_paths(project: Project) -> None:
    project.write("in.txt", "x\n")
    project.write(
        "recipe.toml",
        """
        [task.a]
        command = "cat /kaapana/in/in.txt > /kaapana/out/o.txt; ls /usr/bin > /dev/null"
        inputs.i = { path = "in.txt", mount = "/kaapana/in/in.txt" }
        outputs.o = { path = "o.txt", mount = "/kaapana/out/o.txt" }
        """,
    )
    project.run()
    assert project.read("o.txt") == "x\n"
    assert not os.path.exists("/kaapana")  # noqa: PTH110


def test_independent_tasks_do_not_wait_for_each_other(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [task.slow]
        command = ["sleep", "1.5"]

        [task.first]
        command = "sleep 0.2; echo > {outputs.o}"
        outputs.o = {}

        [task.second]
        command = "sleep 0.2; cat {inputs.i}"
        inputs.i = { from = "first.o" }
        """,
    )
    steps = project.run("-j", "2")
    times = {
        name: [datetime.fromisoformat(step[k]) for k in ("started", "ended")]
        for name, step in steps.items()
    }
    assert times["second"][1] < times["slow"][1]
    assert times["second"][0] >= times["first"][1]


def test_two_processes_make_a_key_once(project: Project) -> None:
    import threading

    count = project.root / "count"
    project.write(
        "recipe.toml",
        f"[task.a]\noutputs.o = 'o'\n"
        f"command = 'echo x >> {count}; sleep 1; echo > {{outputs.o}}'\n",
    )
    threads = [threading.Thread(target=project.run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count.read_text() == "x\n"
