"""What a first review broke, held for good."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from coopery.options import Settings
from coopery.plugins import Plugins
from coopery.testing import Project, performed


def start(project: Project, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "coopery", "run", *arguments],
        cwd=project.root,
        env={**os.environ, "COOPERY_HOME": str(project.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_source_edited_during_the_run_is_not_remembered_under_its_old_key(
    project: Project,
) -> None:
    project.write("src/s", "old")
    started = project.root / "started"
    project.write(
        "recipe.toml",
        f"""
        [image.i]
        sources = ["src"]

        [task.a]
        image = "i"
        command = "touch {started}; sleep 1.5; echo a > {{outputs.o}}"
        outputs.o = {{}}

        [task.b]
        image = "i"
        command = "cat src/s > {{outputs.o}}"
        inputs.a = {{ from = "a.o" }}
        outputs.o = "o"
        """,
    )
    process = start(project)
    while not started.exists():
        time.sleep(0.02)
    project.write("src/s", "new")
    assert process.wait() == 1
    project.write("src/s", "old")
    assert performed(project.run()) == ["b"]
    assert project.read("o") == "old"


def test_equal_objects_put_at_once_are_all_there(tmp_path: Path) -> None:
    store = Plugins.discover().open_store(tmp_path / "home", Settings({}))
    errors: list[BaseException] = []
    try:
        for round_ in range(40):
            files = []
            for _ in range(6):
                folder = store.scratch("x")
                files.append(folder / "f")
                files[-1].write_text(f"round {round_}")
            gate = threading.Barrier(len(files))

            def put(file: Path, gate: threading.Barrier = gate) -> None:
                gate.wait()
                try:
                    assert store.find(store.put(file)) is not None
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=put, args=(file,)) for file in files]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        store.close()
    assert errors == []


def test_equal_bytes_of_a_transient_and_another_output(project: Project) -> None:
    project.write(
        "recipe.toml",
        """
        [task.a]
        command = "sleep 0.3; echo a > $COOPERY_OUTPUT_O"
        outputs.o = { name = "o", transient = true }
        [task.b]
        command = "sleep 0.3; echo a > $COOPERY_OUTPUT_O"
        outputs.o = "o"
        [task.r]
        command = "true"
        inputs.i = { from = "a.o" }
        [task.s]
        command = "cat $COOPERY_INPUT_I; :"
        inputs.i = "o"
        """,
    )
    steps = project.run("-j", "4")
    assert {step["state"] for step in steps.values()} == {"succeeded"}
    assert project.read("o") == "a\n"


def test_bytes_that_a_step_just_took_are_not_dropped_for_another(project: Project) -> None:
    """The last reader of a transient output ends while equal bytes enter the store."""
    project.plugin(
        "slow",
        """
        import time
        from pathlib import Path
        from coopery_store.store import HomeStore

        put = HomeStore.put

        def slow(self, path):
            found = put(self, path)
            if path.name == "late":
                Path("taken").touch()
                time.sleep(2)
            return found

        HomeStore.put = slow
        """,
    )
    project.write(
        "recipe.toml",
        f"""
        [task.a]
        command = "echo same > {{outputs.o}}"
        outputs.o = {{ name = "o", transient = true }}
        [task.b]
        command = "sleep 0.3; echo same > {{outputs.o}}"
        outputs.o = "late"
        [task.r]
        command = "while ! test -e {project.root}/taken; do sleep 0.05; done"
        inputs.i = {{ from = "a.o" }}
        """,
    )
    steps = project.run("-j", "4")
    assert {step["state"] for step in steps.values()} == {"succeeded"}
    assert project.read("late") == "same\n"
    # Nobody wants the transient output's bytes, but `late` is made of the same.
    assert project.coopery("get", "b.o", "copy").exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_no_task_outlives_a_run_that_is_told_to_stop(
    project: Project, number: signal.Signals
) -> None:
    pid = project.root / "pid"
    project.write("recipe.toml", f"[task.a]\ncommand = 'echo $$ > {pid}; sleep 30'\n")
    process = start(project)
    deadline = time.monotonic() + 30
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) == 130
    assert not Path("/proc", pid.read_text().strip()).exists()


def test_ctrl_c_while_another_process_makes_the_same(project: Project) -> None:
    started = project.root / "started"
    project.write("recipe.toml", f"[task.a]\ncommand = 'touch {started}; sleep 6'\n")
    first = start(project)
    while not started.exists():
        time.sleep(0.02)
    second = start(project)
    time.sleep(1)
    second.send_signal(signal.SIGINT)
    assert second.wait(3) == 130
    first.send_signal(signal.SIGINT)
    first.wait(10)


@pytest.mark.parametrize("value", ["2020-01-01", "10:00:00", "nan", "inf", '"x\\u0000y"'])
def test_parameters_without_a_plain_form(project: Project, value: str) -> None:
    project.write("recipe.toml", f"[task.a]\nparams.d = {value}\ncommand = ['true']\n")
    answer = project.coopery("run")
    assert (answer.exit_code, answer.slugs) == (2, ("wrong-value",))
    assert "recipe.toml:2" in answer.stderr


def test_one_unreadable_input_fails_only_its_task(project: Project) -> None:
    folder = project.root / "folder"
    folder.mkdir()
    (folder / "closed").touch(0)
    project.write(
        "recipe.toml",
        "[task.a]\ncommand = ['true']\ninputs.i = 'folder'\n[task.b]\ncommand = ['true']\n",
    )
    # Root reads everything, unless it lays down what makes it root.
    lesser = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    answer = subprocess.run(
        [*lesser, sys.executable, "-m", "coopery", "run", "--json"],
        cwd=project.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    states = {step["step"]: step["state"] for step in json.loads(answer.stdout)["steps"]}
    assert (answer.returncode, states) == (1, {"a": "failed", "b": "succeeded"})
    assert "recipe.toml:1" in answer.stderr


@pytest.mark.parametrize(
    ("channels", "slug"),
    [
        ("inputs.i = 'recipe.toml'\ninputs.I = 'recipe.toml'", "duplicate-name"),
        (
            "inputs.i = { path = 'recipe.toml', mount = '/m' }\n"
            "inputs.j = { path = 'recipe.toml', mount = '/m/' }",
            "duplicate-name",
        ),
        ("outputs.o = { mount = '/etc/x' }", "bad-mount"),
        ("outputs.o = { mount = '/x' }", "bad-mount"),
        ("outputs.o = 'elsewhere/x'", "outside-project"),
    ],
)
def test_channels_that_would_collide_or_escape(
    project: Project, tmp_path: Path, channels: str, slug: str
) -> None:
    (tmp_path / "outside").mkdir()
    (project.root / "elsewhere").symlink_to(tmp_path / "outside")
    project.write("recipe.toml", f"[task.a]\ncommand = ['true']\n{channels}\n")
    answer = project.coopery("run")
    assert (answer.exit_code, answer.slugs) == (2, (slug,))


def test_forecasts_know_of_bytes_that_are_gone(project: Project) -> None:
    def recipe(word: str) -> None:
        project.write(
            "recipe.toml",
            f"""
            [image.e]

            [task.a]
            command = "echo a > {{outputs.o}}"
            outputs.o = {{ transient = true }}

            [task.r]
            image = "e"
            command = "cat {{inputs.i}} > {{outputs.o}}; echo {word} >> {{outputs.o}}"
            inputs.i = {{ from = "a.o" }}
            outputs.o = "r"
            """,
        )

    recipe("one")
    project.run()
    for place in (project.home / "places").iterdir():
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert set(project.forecast().values()) == {"cached"}
    assert performed(project.run()) == []
    recipe("two")
    assert project.forecast() == {"a": "run", "environment e": "run", "r": "run"}
    assert sorted(performed(project.run())) == ["a", "environment e", "r"]
    assert project.read("r") == "a\ntwo\n"
