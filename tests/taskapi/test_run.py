"""`coopery run -f task.json`: a task of the Task API in a container of a real engine."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Bench, bind, build, probe_files, report_of, step_of
from .documents import write

pytestmark = pytest.mark.xdist_group("taskapi-probes")
MIB = 1 << 20
ENDED = 60
"""Seconds after which a run that was told to end has ended."""


def channel(name: str, **more: Any) -> dict[str, Any]:
    """A channel of a template, at /data/NAME."""
    return {"name": name, "mounted_path": f"/data/{name}", **more}


def end(run: subprocess.Popen[str]) -> str:
    """Wait for a run; what it told."""
    told = run.communicate(timeout=ENDED)[1]
    assert run.returncode == 0, told
    return told


def test_template_and_task_together(bench: Bench) -> None:
    """Outputs land where the task says; the task's variables win, others come on top."""
    env = [
        {"name": "MODE", "value": "exact"},
        {"name": "EXTRA", "value": "{x} 'y' $HOME"},
        {"name": "with.dot-and-dash", "value": "1"},
    ]
    step = bench.run(bench.task(env=env))
    seen = report_of(step)
    assert {path.name for path in bench.out.iterdir()} == {"a.txt", "deep", "c.csv", "env"}
    assert (bench.out / "deep/b.txt").read_text() == "b" * 20
    expected = "MODE=exact\nDEPTH=2\nFORMAT=csv\nEXTRA={x} 'y' $HOME\n"
    assert (bench.out / "env").read_text() == expected
    assert seen["env"]["with.dot-and-dash"] == "1" and seen["env"]["FROM_IMAGE"] == "yes"
    assert seen["cwd"] == "/app" and seen["specified"]
    assert seen["mounts"] == {"/data/texts": "ro", "/data/copies": "rw"}
    assert (step["kind"], step["step"], step["outputs"]) == ("task", "Copy-them", {})
    # Nothing of it is kept in the store, and nothing is remembered.
    shutil.rmtree(bench.out)
    assert not bench.run(bench.task(env=env))["cached"]
    assert (bench.out / "a.txt").is_file()


def test_inputs_are_read_only(bench: Bench) -> None:
    does = ("try:/data/texts/a.txt", "try:/data/texts/new", "try:/data/copies/new")
    task = bench.looking(*does, inputs=[channel("texts")], outputs=[channel("copies")])
    task |= {"inputs": [bind("texts", bench.data)], "outputs": [bind("copies", bench.out)]}
    log = Path(bench.run(task)["log"]).read_text()
    assert "refused /data/texts/a.txt: Read-only file system" in log
    assert "refused /data/texts/new" in log and "written /data/copies/new" in log
    assert (bench.data / "a.txt").read_text() == "a" * 10
    assert not (bench.data / "new").exists() and (bench.out / "new").read_text() == "x"


def test_an_output_may_hold_something_already(bench: Bench) -> None:
    bench.out.mkdir(parents=True)
    (bench.out / "before").write_text("kept")
    bench.run(bench.task())
    assert (bench.out / "before").read_text() == "kept" and (bench.out / "a.txt").is_file()


def test_channels_that_share_a_folder(bench: Bench) -> None:
    """Two inputs of one folder, an output in it, and two outputs of one folder."""
    both = bench.project.root / "both"
    task = bench.looking(
        *("try:/data/one/x", "try:/data/two/x", "write:/data/back/new:1"),
        *("write:/data/left/l:l", "write:/data/right/r:r"),
        inputs=[channel("one"), channel("two")],
        outputs=[channel("back"), channel("left"), channel("right")],
    )
    task["inputs"] = [bind("one", bench.data), bind("two", bench.data)]
    task["outputs"] = [bind("back", bench.data), bind("left", both), bind("right", both)]
    step = bench.run(task)
    log = Path(step["log"]).read_text()
    assert "refused /data/one/x" in log and "refused /data/two/x" in log
    files = report_of(step)["files"]
    assert files["/data/one/a.txt"] == files["/data/two/a.txt"] == files["/data/back/a.txt"]
    assert (bench.data / "new").read_text() == "1"
    assert {path.name for path in both.iterdir()} == {"l", "r"}


def test_which_command_is_run(bench: Bench) -> None:
    """The task's, else the template's, else the image's own: ENTRYPOINT and CMD. One that is given
    takes the place of both.
    """
    look = {"name": "look", "image": bench.image, "taskTemplate": "look"}
    own = bench.run(look)
    assert own["command"] == "python3 probe.py by-itself"
    assert report_of(own)["argv"] == ["by-itself"] and report_of(own)["cwd"] == "/app"
    given = bench.run({**look, "command": ["python3", "-E", "probe.py", "exit:0", "{a}"]})
    assert report_of(given)["argv"] == ["exit:0", "{a}"]
    assert given["command"] == "python3 -E probe.py exit:0 '{a}'"
    inline = bench.looking("exit:0", "by-itself")
    assert report_of(bench.run(inline))["argv"] == ["exit:0", "by-itself"]


def test_an_image_without_a_python(bench: Bench) -> None:
    """Any image can do things: what runs in it is its own."""
    import registries

    tag = "coopery-test-small:" + bench.image.partition(":")[2]
    bench.engine.import_image_from_data(
        registries.small_image("taskapi\n"), repository=tag.partition(":")[0], tag=tag[-12:]
    )
    try:
        template: dict[str, Any] = {"identifier": "own", "description": "x"}
        template["outputs"] = [channel("copies")]
        template["command"] = ["/bin/sh", "-c", "cat /mark > /data/copies/mark"]
        task = {"name": "small", "image": tag, "taskTemplate": template}
        bench.run({**task, "outputs": [bind("copies", bench.out)]})
        assert (bench.out / "mark").read_text() == "taskapi\n"
    finally:
        bench.engine.remove_image(tag, force=True)


def test_a_label_in_place_of_the_file(bench: Bench) -> None:
    files = probe_files()
    del files["processing-container.json"]
    said: dict[str, Any] = {"name": "labelled", "description": "x"}
    said["templates"] = [{"identifier": "l", "description": "x", "command": ["echo", "labelled"]}]
    text = json.dumps(json.dumps(said))
    lines = [line for line in files["Dockerfile"].splitlines() if "container.json" not in line]
    files["Dockerfile"] = "\n".join([*lines, f"LABEL coopery.processing-container={text}"])
    tag = bench.image + "-label"
    build(bench.engine, files, tag)
    try:
        step = bench.run({"name": "x", "image": tag, "taskTemplate": "l"})
        assert Path(step["log"]).read_text() == "labelled\n"
    finally:
        bench.engine.remove_image(tag, force=True)


def test_labels_and_limits_of_the_container(bench: Bench) -> None:
    """What is asked for is what the engine was told, while it runs, and what holds inside."""
    go = bench.project.root / "go"
    go.mkdir()
    amounts = {"memory": "96Mi", "cpu": "1500m", "shm": "24Mi"}
    task = bench.looking("wait:/data/go/now", inputs=[channel("go")])
    task |= {"inputs": [bind("go", go)], "resources": {"limits": amounts}}
    task["config"] = {"type": "docker", "labels": {"team.example/a": "b c"}}
    run = bench.start(task)
    try:
        inspected = bench.container(run)
    finally:
        (go / "now").touch()
    end(run)
    assert inspected["Config"]["Labels"]["team.example/a"] == "b c"
    host = inspected["HostConfig"]
    assert (host["Memory"], host["ShmSize"]) == (96 * MIB, 24 * MIB)
    assert host["NanoCpus"] == 1_500_000_000 or host["CpuQuota"] / host["CpuPeriod"] == 1.5
    assert host["MemorySwap"] in (96 * MIB, 0, -1)
    show = bench.project.coopery("show", "--json").json
    (step,) = (step for step in show["steps"] if step["kind"] == "task")
    seen = report_of(step)
    assert int(seen["memory"]) == 96 * MIB and seen["shm"] == 24 * MIB
    assert seen["cpu"].split()[0] == "150000"


def test_labels_of_coopery_are_its_own(bench: Bench) -> None:
    answer = bench.coopery(bench.task(config={"labels": {"coopery.home": "x"}}))
    assert (answer.exit_code, answer.slugs) == (2, ("wrong-value",)), answer.stderr
    assert "task.json" in answer.stderr and "(/config/labels" in answer.stderr


def test_memory_by_the_data(bench: Bench) -> None:
    """25 times the bytes of all texts: by hand, explained, in the record, and in the container."""
    for number, size in enumerate((3 << 20, 123_457, 1)):
        (bench.data / "deep" / f"{number}.txt").write_bytes(b"x" * size)
    (bench.data / "large.csv").write_bytes(b"x" * (8 << 20))
    by_hand = 25 * (10 + 20 + (3 << 20) + 123_457 + 1)
    assert by_hand > 64 * MIB
    task = bench.task()
    write(bench.project.root / "task.json", task)
    explained = bench.project.coopery("explain", "task.json", "--json").json
    assert explained["memory"] == {"limit": by_hand, "request": None}
    step = bench.run(task)
    told = step["facts"]["scaled"]
    assert (told["limit"], told["request"]) == (by_hand, None)
    (rule,) = told["rules"]
    assert (rule["size"], rule["memory"], rule["files"]) == (by_hand // 25, by_hand, 5)
    # The kernel counts in pages.
    assert int(report_of(step)["memory"]) == by_hand - by_hand % 4096
    shown = bench.project.coopery("show", "--json").json
    assert next(s for s in shown["steps"] if s["kind"] == "task")["facts"]["scaled"] == told
    # What is stated is the least.
    shutil.rmtree(bench.data / "deep")
    step = bench.run(task)
    assert step["facts"]["scaled"]["limit"] == 64 * MIB
    assert int(report_of(step)["memory"]) == 64 * MIB


def test_memory_that_the_engine_was_told(bench: Bench) -> None:
    go = bench.project.root / "go"
    go.mkdir()
    (go / "a.txt").write_bytes(b"x" * 1_000_000)
    rule = {"scale_factor": 20.5, "type": "limit", "mode": "sum"}
    task = bench.looking("wait:/data/go/now", inputs=[channel("go", scale_rule=rule)])
    run = bench.start({**task, "inputs": [bind("go", go)]})
    try:
        inspected = bench.container(run)
    finally:
        (go / "now").touch()
    end(run)
    assert inspected["HostConfig"]["Memory"] == 20_500_000


def test_a_request_above_the_limit(bench: Bench) -> None:
    rule = {"scale_factor": 1e7, "type": "request", "mode": "sum"}
    answer = bench.coopery(bench.task(inputs=[bind("texts", bench.data, scale_rule=rule)]))
    assert answer.exit_code == 1, answer.stderr
    (problem,) = step_of(answer)["problems"]
    assert problem["slug"] == "request-above-limit"
    assert f"{1030 * 10**7} B" in problem["message"] and "64 MiB" in problem["message"]
    assert not bench.out.exists()
    # What the documents themselves say is told before anything runs.
    amounts = {"requests": {"cpu": 2}, "limits": {"cpu": 1}}
    answer = bench.coopery(bench.task(resources=amounts))
    assert (answer.exit_code, answer.slugs) == (2, ("request-above-limit",)), answer.stderr
    assert "task.json:" in answer.stderr and "(/resources" in answer.stderr


def test_what_fits_on_no_machine(bench: Bench) -> None:
    rule = {"scale_factor": 1e12, "type": "limit", "mode": "sum"}
    answer = bench.coopery(bench.task(inputs=[bind("texts", bench.data, scale_rule=rule)]))
    (problem,) = step_of(answer)["problems"]
    assert problem["slug"] == "never-fits" and "memory" in problem["message"]
    assert not bench.out.exists()
    answer = bench.coopery(bench.task(resources={"limits": {"memory": "900Ti"}}))
    assert answer.slugs == ("never-fits",) and answer.exit_code in (2, 3)


def test_killed_for_its_memory(bench: Bench) -> None:
    """The factor that is too small is told."""
    (bench.data / "a.txt").write_bytes(b"x" * MIB)
    rule = {"scale_factor": 20, "type": "limit", "mode": "sum", "target_glob": "*.txt"}
    task = bench.looking("eat:60", inputs=[channel("texts", scale_rule=rule)])
    answer = bench.coopery({**task, "inputs": [bind("texts", bench.data)]})
    assert answer.exit_code == 137, answer.stderr
    step = step_of(answer)
    (problem,) = step["problems"]
    assert problem["slug"] == "out-of-memory" and step["facts"]["exit_code"] == 137
    assert "the scale rule of texts asks for" in answer.stderr
    assert "its scale_factor is 20, and more than " in answer.stderr


def test_a_container_that_fails(bench: Bench) -> None:
    answer = bench.coopery(bench.looking("exit:7"))
    assert answer.exit_code == 7
    step = step_of(answer)
    assert step["facts"]["exit_code"] == 7 and step["problems"][0]["slug"] == "task-failed"


def test_no_gpu(bench: Bench) -> None:
    for name in ("gpu", "nvidia.com/gpu"):
        answer = bench.coopery(bench.task(resources={"limits": {name: 1}}))
        assert answer.slugs == ("never-fits",), answer.stderr
        assert "gpu" in answer.told("never-fits")
    assert not bench.out.exists()


def test_memory_is_monitored(bench: Bench) -> None:
    """How much was held, how much each channel has, and whether the rule suffices."""
    answer = bench.coopery(bench.task(), "--monitor-memory")
    assert answer.exit_code == 0, answer.stderr
    facts = step_of(answer)["facts"]
    sizes = {one["channel"]: (one["size"], one["files"]) for one in facts["scaled"]["channels"]}
    assert sizes["texts"] == (1030, 3) and facts["peak_memory"] > MIB
    assert "texts has 1.0" in answer.stderr and "64 MiB" in answer.stderr
    assert "its scale_factor is 25, and " in answer.stderr
    # A rule that does suffice.
    (bench.data / "a.txt").write_bytes(b"x" * (4 << 20))
    answer = bench.coopery(bench.task(), "--monitor-memory")
    assert "which suffices" in answer.stderr
    # Without being asked, nobody tells.
    answer = bench.coopery(bench.task())
    assert "suffice" not in answer.stderr and "channels" not in step_of(answer)["facts"]["scaled"]


def test_results_that_are_remembered(bench: Bench) -> None:
    task = bench.task()
    first = bench.run(task, "--remember")
    assert not first["cached"] and (bench.out / "deep/b.txt").read_text() == "b" * 20
    assert bench.run(task, "--remember")["cached"]
    shutil.rmtree(bench.out)
    assert bench.run(task, "--remember")["cached"]
    assert (bench.out / "a.txt").read_text() == "a" * 10
    (bench.data / "a.txt").write_text("edited")
    again = bench.run(task, "--remember")
    assert not again["cached"] and "input texts" in again["reason"]["text"]
    assert (bench.out / "a.txt").read_text() == "edited"
    changed = bench.task(env=[{"name": "MODE", "value": "exact"}])
    assert not bench.run(changed, "--remember")["cached"]
    assert "MODE=exact" in (bench.out / "env").read_text()


def test_what_only_kubernetes_heeds(bench: Bench) -> None:
    config = {
        "type": "k8s",
        "namespace": "n",
        "annotations": {"a": "b"},
        "imagePullSecrets": ["s"],
        "env_vars": [{"name": "A", "value": "b"}],
        "volumes": [{"name": "v"}],
        "volume_mounts": [{"name": "v", "mountPath": "/v"}],
        "labels": {"x": "y"},
    }
    answer = bench.coopery(bench.task(config=config))
    assert answer.exit_code == 0, answer.stderr
    told = [line for line in answer.stderr.splitlines() if line.endswith("[not-heeded]")]
    told_of = {line.partition("(/config/")[2].partition(")")[0] for line in told}
    assert told_of == set(config) - {"labels"}
    assert all(line.startswith("warning: ") and "/task.json:" in line for line in told)
    assert (bench.out / "a.txt").is_file()


@pytest.mark.parametrize("type_", ["string", "int"])
def test_the_working_folder_may_be_written_to(bench: Bench, type_: str) -> None:
    """Variables with types are text nevertheless; HOME and TMPDIR are writable."""
    variable = {"name": "N", "value": "1", "type": type_}
    task = bench.looking("try:/tmp/x", "env:/data/copies/env:N", env=[variable])
    task["taskTemplate"]["outputs"] = [channel("copies")]
    task["outputs"] = [bind("copies", bench.out)]
    bench.run(task)
    assert (bench.out / "env").read_text() == "N=1\n"
