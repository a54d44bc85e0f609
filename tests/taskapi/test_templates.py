"""A recipe's tasks of templates: the runs of a task.json, under each runtime (K10)."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import performed

from .conftest import PROBE, PROBES, Bench, build, probe_files, report_of
from .documents import put, write

pytestmark = pytest.mark.xdist_group("taskapi-probes")
MIB = 1 << 20
NOWHERE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
"""An environment in which no engine can be asked."""
OWN = put(
    PROBES,
    "/templates/0/command",
    [
        *("python3", "probe.py", "copy:/data/texts:/data/copies"),
        "env:/data/copies/env:MODE:DEPTH:FORMAT:EXTRA",
    ],
)
"""The specification of an image that the recipe makes."""
MADE = """
[image.probes]
sources = ["probe.py"]
specification = "processing-container.json"
"""


@pytest.fixture
def recipes(bench: Bench) -> Bench:
    """A project that has what an image of its own is made of, besides data."""
    bench.project.write("probe.py", PROBE.read_text("utf-8"))
    write(bench.project.root / "processing-container.json", OWN)
    return bench


def own(seen: Mapping[str, Any]) -> dict[str, str]:
    """The variables that a template, a task and an image say."""
    names = ("MODE", "DEPTH", "FORMAT", "EXTRA", "FROM_IMAGE")
    return {name: seen["env"][name] for name in names if name in seen["env"]}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_recipe_and_a_task_json_are_the_same_run(bench: Bench) -> None:
    (bench.data / "a.txt").write_bytes(b"x" * (3 * MIB))
    env = [{"name": "MODE", "value": "exact"}, {"name": "EXTRA", "value": "{1}"}]
    amounts = {"limits": {"cpu": "250m"}}
    one = bench.run(bench.task(env=env, resources=amounts))
    text = f"""
    [task.a]
    template = {{ name = "{bench.image}#copy", resources.limits.cpu = "250m" }}
    env = {{ MODE = "exact", EXTRA = "{{{{1}}}}" }}
    inputs.texts = "data"
    outputs.copies = "out"
    """
    bench.project.write("recipe.toml", text)
    other = bench.project.run("-r", "docker")["a"]
    assert contents(bench.project.root / "out") == contents(bench.out)
    first, second = report_of(one), report_of(other)
    assert own(first) == own(second) and own(first)["EXTRA"] == "{1}"
    for name in ("argv", "cwd", "mounts", "files", "memory", "cpu", "shm", "specified"):
        assert first[name] == second[name], name
    assert int(first["memory"]) == 25 * (3 * MIB + 20) // 4096 * 4096
    for name in ("command", "state", "resources"):
        assert one[name] == other[name], name
    assert one["facts"]["scaled"] == other["facts"]["scaled"]
    assert one["facts"]["exit_code"] == other["facts"]["exit_code"] == 0
    # As a task of a recipe it is remembered, for which no engine is asked: the lock pins it.
    again = bench.project.run("-r", "docker", env=NOWHERE)
    assert performed(again) == []


def test_a_failure_is_the_same_failure(bench: Bench) -> None:
    inline = bench.looking("exit:9")
    bench.coopery(inline)
    use = json.dumps(inline["taskTemplate"]["command"])
    text = f"""
    [task.a]
    template = {{ name = "{bench.image}#look", command = {use} }}
    """
    bench.project.write("recipe.toml", text)
    answer = bench.project.coopery("run", "-r", "docker", "--json")
    assert answer.exit_code == 1
    step = next(step for step in answer.json["steps"] if step["step"] == "a")
    assert step["facts"]["exit_code"] == 9 and step["problems"][0]["slug"] == "task-failed"


def test_an_image_of_the_recipe_under_both_runtimes(recipes: Bench) -> None:
    """Its specification lies in it, `spec` prints it, and no more is made than changed."""
    project = recipes.project
    text = (
        MADE
        + """
    [task.a]
    template = "probes#copy"
    env.MODE = "exact"
    inputs.texts = "data"
    outputs.copies = "out/{runtime}"
    [task.plain]
    image = "probes"
    command = "echo plain"
    """.replace("    ", "")
    )
    seen = {}
    for runtime in ("local", "docker"):
        project.write("recipe.toml", text.replace("{runtime}", runtime))
        seen[runtime] = report_of(project.run("-r", runtime)["a"])
        env = (project.root / f"out/{runtime}/env").read_text()
        assert env == "MODE=exact\nDEPTH=2\nFORMAT=csv\nEXTRA=None\n"
    assert contents(project.root / "out/local") == contents(project.root / "out/docker")
    for name in ("argv", "mounts", "files"):
        assert seen["local"][name] == seen["docker"][name], name
    assert own(seen["local"]) == own(seen["docker"])
    assert seen["docker"]["specified"] and seen["docker"]["cwd"] == "/work"
    assert int(seen["docker"]["memory"]) == 64 * MIB
    steps = project.run("-r", "docker", env=NOWHERE)
    assert performed(steps) == []
    made = [step["facts"]["id"] for step in steps.values() if "id" in step["facts"]]
    assert project.coopery("spec", made[-1]).json == OWN
    # A default that changes concerns the task of the template, and no other.
    write(project.root / "processing-container.json", put(OWN, "/templates/0/env/1/value", "3"))
    steps = project.run("-r", "docker")
    assert "a" in performed(steps) and "a.copies" not in performed(steps)
    assert "DEPTH=3" in (project.root / "out/docker/env").read_text()


def test_what_only_people_read_runs_nothing_again(recipes: Bench) -> None:
    """Under `local`, where no image holds it."""
    project = recipes.project
    text = MADE + '[task.a]\ntemplate = "probes#copy"\ninputs.texts = "data"\noutputs.copies = {}\n'
    project.write("recipe.toml", text)
    assert "a" in performed(project.run())
    changed = put(OWN, "/templates/0/description", "Copies all that it finds")
    write(project.root / "processing-container.json", changed)
    assert performed(project.run()) == []
    changed = put(OWN, "/templates/0/resources/limits/memory", "65Mi")
    write(project.root / "processing-container.json", changed)
    assert performed(project.run()) == []
    changed = put(OWN, "/templates/0/outputs/0/mounted_path", "/data/elsewhere")
    changed = put(changed, "/templates/0/command", ["touch", "/data/elsewhere/x"])
    write(project.root / "processing-container.json", changed)
    assert performed(project.run()) == ["a"]


def test_a_matrix_over_a_task_and_what_gathers_it(recipes: Bench) -> None:
    """Variables hold placeholders; a rule counts what all instances have made."""
    project = recipes.project
    text = (
        MADE
        + """
    [task.each]
    template = "probes#copy"
    matrix.depth = [1, 2]
    params.mode = "fast"
    env = { DEPTH = "{matrix.depth}", MODE = "{params.mode}" }
    inputs.texts = "data"
    outputs.copies = {}

    [task.all]
    template = { name = "probes#copy", resources.limits.memory = "32Mi" }
    template.scale_rule.texts = { scale_factor = 500000, type = "limit", mode = "max_item_sum", \
target_glob = "*.txt" }
    inputs.texts = { from = "each.copies" }
    outputs.copies = "out"
    """.replace("    ", "").replace(
            'template = { name = "probes#copy", resources.limits.memory = "32Mi" }',
            'template.name = "probes#copy"\ntemplate.resources.limits.memory = "32Mi"',
        )
    )
    project.write("recipe.toml", text)
    steps = project.run()
    for depth in (1, 2):
        seen = report_of(steps[f"each@depth={depth}"])
        assert (seen["env"]["DEPTH"], seen["env"]["MODE"]) == (str(depth), "fast")
        made = (project.root / f"out/depth={depth}/copies/env").read_text()
        assert made.startswith(f"MODE=fast\nDEPTH={depth}\n")
    told = steps["all"]["facts"]["scaled"]
    (rule,) = told["rules"]
    assert (rule["size"], rule["item"], rule["files"]) == (30, "depth=1", 2)
    # What the task states is above what the rule asks for.
    assert rule["memory"] == 15_000_000 and told["limit"] == 32 * MIB
    answer = project.coopery("run", "--set", "each.mode=exact", "--json")
    assert answer.exit_code == 0, answer.stderr
    assert "MODE=exact" in (project.root / "out/depth=1/copies/env").read_text()
    answer = project.coopery("run", "--set", "each.mode=slow")
    assert answer.slugs == ("not-a-choice",), answer.stderr


def test_what_a_use_says_takes_the_place_of_the_templates(recipes: Bench) -> None:
    project = recipes.project
    text = (
        MADE
        + """
    [task.a]
    params.name = "{{b}}"
    template.name = "probes#copy"
    template.command = ["python3", "probe.py",
      "write:{outputs.copies}/{params.name}:{inputs.texts}"]
    template.resources.limits = { memory = "32Mi", cpu = 1 }
    template.scale_rule.texts = { scale_factor = 2e6, type = "limit", mode = "max_file_size", \
target_glob = "*.txt" }
    resources = { cpu = 2 }
    inputs.texts = "data"
    outputs.copies = "out"
    """.replace("    ", "")
    )
    project.write("recipe.toml", text.replace('"{{b}}"', '"b"'))
    steps = project.run("-r", "docker", "--capacity", "cpu=2")
    assert (project.root / "out/b").read_text() == "/data/texts"
    seen, step = report_of(steps["a"]), steps["a"]
    assert (
        int(seen["memory"]) == 40_000_000 // 4096 * 4096
        and step["facts"]["scaled"]["limit"] == 40_000_000
    )
    # What the task states itself goes before what its template does.
    assert seen["cpu"].split()[0] == "200000" and seen["shm"] == 16 * MIB


def test_resources_of_the_task_go_before_the_templates(recipes: Bench) -> None:
    """Upwards and downwards, of memory as of the rest; what a rule asks for is more than stated."""
    project = recipes.project
    write(
        project.root / "processing-container.json",
        put(OWN, "/templates/0/resources/requests", {"memory": "48Mi", "cpu": "250m"}),
    )
    text = 'template = "probes#copy"\ninputs.texts = "data"\noutputs.copies = {}\n'
    for stated, limit in (("32Mi", 32), ("80Mi", 80)):
        own = f'resources = {{ memory = "{stated}", cpu = 1 }}\n'
        project.write("recipe.toml", f"{MADE}[task.a]\n{text}{own}")
        step = project.run("--force", "--capacity", "cpu=2")["a"]
        assert step["facts"]["scaled"]["limit"] == limit * MIB
        assert step["resources"]["memory"] == limit * MIB and step["resources"]["cpu"] == 1
    (recipes.data / "a.txt").write_bytes(b"x" * (4 * MIB))
    told = project.run("--capacity", "cpu=2")["a"]["facts"]["scaled"]
    assert told["limit"] == 25 * (4 * MIB + 20)


def test_a_base_that_says_what_it_can_do(bench: Bench) -> None:
    """With the recipe's own upon it; where a task begins is coopery's then."""
    text = f"""
    [image.probes]
    base = "{bench.image}"
    sources = ["data/c.csv"]
    [task.a]
    template = "probes#copy"
    inputs.texts = "data"
    outputs.copies = "out"
    [task.b]
    template.name = "probes#look"
    template.command = ["python3", "/app/probe.py", "copy:data:/tmp/x"]
    """
    bench.project.write("recipe.toml", text)
    steps = bench.project.run("-r", "docker")
    assert report_of(steps["a"])["cwd"] == report_of(steps["b"])["cwd"] == "/work"
    assert own(report_of(steps["a"]))["FROM_IMAGE"] == "yes"
    assert (bench.project.root / "out/deep/b.txt").is_file()
    assert performed(bench.project.run("-r", "docker", env=NOWHERE)) == []


def test_the_lock_says_which_image_it_is(bench: Bench) -> None:
    """A new image under the same tag concerns nobody until the lock is renewed."""
    tag = f"{bench.image}-moving"
    text = f"""
    [image.probes]
    prebuilt = "{tag}"
    [task.a]
    template = "probes#copy"
    inputs.texts = "data"
    outputs.copies = "out"
    """
    bench.project.write("recipe.toml", text)
    first = build(bench.engine, probe_files(), tag)
    # Without a name, the engine would keep it until somebody prunes.
    bench.engine.tag(first, f"{bench.image}-first")
    try:
        bench.project.run("-r", "docker")
        changed = put(PROBES, "/templates/0/env/1/value", "7")
        second = build(bench.engine, probe_files(changed), tag)
        assert first != second
        shutil.rmtree(bench.project.root / "out")
        assert performed(bench.project.run("-r", "docker")) == []
        assert "DEPTH=2" in (bench.project.root / "out/env").read_text()
        answer = bench.project.coopery("run", "-r", "docker", "--force", "--json")
        step = next(step for step in answer.json["steps"] if step["step"] == "a")
        assert [found["slug"] for found in step["problems"]] == ["base-moved"]
        answer = bench.project.coopery("lock", "-r", "docker", "--upgrade")
        assert answer.exit_code == 0, answer.stderr
        assert "a" in performed(bench.project.run("-r", "docker"))
        assert "DEPTH=7" in (bench.project.root / "out/env").read_text()
    finally:
        for name in (tag, f"{bench.image}-first"):
            bench.engine.remove_image(name, force=True)


def test_two_tasks_of_one_reference(bench: Bench) -> None:
    text = f"""
    [task.a]
    template = "{bench.image}#copy"
    inputs.texts = "data"
    outputs.copies = {{}}
    [task.b]
    template = "{bench.image}#copy"
    inputs.texts = {{ from = "a.copies" }}
    outputs.copies = "out"
    [task.c]
    template = "{bench.image}#look"
    """
    bench.project.write("recipe.toml", text)
    steps = bench.project.run("-r", "docker")
    assert set(steps) == {"a", "b", "c", "image a"}
    assert (bench.project.root / "out/a.txt").read_text() == "a" * 10
    assert report_of(steps["c"])["argv"] == ["by-itself"]


def test_a_packed_task_is_what_its_template_says(recipes: Bench) -> None:
    """Its archive, built and run without coopery."""
    project = recipes.project
    text = """
    [task.a]
    template = "probes#copy"
    env.MODE = "exact"
    inputs.texts = "data"
    outputs.copies = "out"
    """.replace("    ", "")
    project.write("recipe.toml", MADE + text)
    answer = project.coopery("pack", "a", "-r", "docker", "-o", "a.tgz")
    assert answer.exit_code == 0, answer.stderr
    tag = f"{recipes.image}-packed"
    with (project.root / "a.tgz").open("rb") as archive:
        told = recipes.engine.build(
            fileobj=archive, custom_context=True, encoding="gzip", tag=tag, rm=True, decode=True
        )
        lines = [line.get("stream", "") or str(line) for line in told]
    with tarfile.open(project.root / "a.tgz") as opened:
        page = opened.extractfile("DESCRIPTION.md")
        assert page is not None
        (run,) = (line for line in page.read().decode().splitlines() if " docker run " in line)
    try:
        assert "/path/of/texts:/data/texts:ro" in run and ":/data/copies " in run
        assert "--cpus 0.5" in run and "--shm-size" in run and "--memory" not in run
        project.write("made/.any", "")
        words = run.replace("/path/of/texts", str(recipes.data))
        words = words.replace("/folder/for/copies", str(project.root / "made"))
        words = words.rpartition(" ")[0] + f" {tag}"
        done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stderr, lines)
        assert "MODE=exact\nDEPTH=2\nFORMAT=csv\n" in project.read("made/env")
        assert project.read("made/deep/b.txt") == "b" * 20
    finally:
        recipes.engine.remove_image(tag, force=True)
