"""recipes/processing-container: as a recipe, and as files of the Task API, as its README has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from coopery.testing import Answer, call

RECIPE = Path(__file__).parents[2] / "recipes" / "processing-container"
IMAGE = "coopery-example/letters:1"
LIMIT = 18_250_000
"""25 times the bytes of the texts in `data`."""

pytestmark = pytest.mark.xdist_group("examples")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """The example in a folder and with a home of its own."""

    folder: Path
    home: Path

    def call(self, *arguments: str, code: int = 0) -> Answer:
        """Run `coopery` there; it must exit with `code`."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("COOPERY_")}
        env |= {"COOPERY_HOME": str(self.home), "PWD": str(self.folder)}
        ended = call(*arguments, cwd=self.folder, env=env)
        assert ended.exit_code == code, ended.stdout + ended.stderr
        return ended

    def document(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """What `coopery … --json` answers."""
        found: dict[str, Any] = json.loads(self.call(*arguments, "--json", code=code).stdout)
        return found

    @property
    def sets(self) -> tuple[str, str]:
        """What the files of the Task API want to be told."""
        return "--set", f"custom.out={self.folder / 'out'}"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """The example, with its image built and named as the README does it."""
    if shutil.which("docker") is None:
        pytest.skip("there is no docker client")
    top = tmp_path_factory.mktemp("processing-container")
    ignored = shutil.ignore_patterns("build", "__pycache__", "recipe.lock")
    shutil.copytree(RECIPE, top / "example", ignore=ignored)
    copy = Copy(folder=top / "example", home=top / "home")
    copy.call("pack", "letters", "-o", "letters.tar.gz")
    archive = (copy.folder / "letters.tar.gz").read_bytes()
    build = ["docker", "build", "--quiet", "--tag", IMAGE, "-"]
    subprocess.run(build, input=archive, check=True, capture_output=True)
    yield copy
    subprocess.run(["docker", "image", "rm", "--force", IMAGE], check=True, capture_output=True)


def test_its_documents_are_right(example: Copy) -> None:
    container = example.call("validate", "processing-container.json")
    assert "ok (processing-container, 2 templates: upstream, downstream)" in container.stdout
    for name in "upstream", "downstream":
        told = example.call("validate", f"{name}.json", *example.sets)
        assert f"{IMAGE} was not asked for its template '{name}'" in told.stdout
        files = ("--specification", "processing-container.json", *example.sets)
        told = example.call("validate", f"{name}.json", *files)
        assert f"of the template '{name}' of processing-container.json" in told.stdout
    shown = json.loads(example.call("spec", IMAGE).stdout)
    assert shown == json.loads((RECIPE / "processing-container.json").read_text("utf-8"))


def test_the_memory_is_the_same_wherever_it_is_told(example: Copy) -> None:
    """By hand, in `explain`, in the record, and in the container itself."""
    texts = sorted((example.folder / "data").rglob("*.txt"))
    assert 25 * sum(path.stat().st_size for path in texts) == LIMIT
    explained = example.document("explain", "upstream.json", *example.sets)
    assert explained["memory"] == {"limit": LIMIT, "request": None}
    record = example.document("run", "-f", "upstream.json", *example.sets)
    (task,) = (step for step in record["steps"] if step["kind"] == "task")
    assert task["facts"]["scaled"]["limit"] == LIMIT
    # What the kernel holds the container to: the limit in whole pages.
    own = json.loads((example.folder / "upstream.json").read_text("utf-8"))
    for group in "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max":
        own["command"] = ["sh", "-c", f"cp {group} /data/counts/limit 2>/dev/null || true"]
        (example.folder / "limited.json").write_text(json.dumps(own), "utf-8")
        example.call("run", "-f", "limited.json", *example.sets)
    held = int((example.folder / "out" / "counts" / "limit").read_text("ascii"))
    assert held == LIMIT // os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PAGE_SIZE")


def test_the_second_reads_what_the_first_wrote(example: Copy) -> None:
    """As files of the Task API and as a recipe, the results are the same bytes."""
    out = example.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    example.call("run", "-f", "upstream.json", *example.sets)
    assert sorted(path.name for path in (out / "counts").iterdir()) == ["dwarf.json", "fox.json"]
    example.call("run", "-f", "downstream.json", *example.sets)
    chart = (out / "chart" / "chart.txt").read_bytes()
    assert chart.decode().splitlines()[0] == "P ######### 11708"
    for runtime in "docker", "local":
        shutil.rmtree(example.folder / "build", ignore_errors=True)
        done = example.document("run", "-f", "recipe.toml", "-r", runtime)
        ran = [s["step"] for s in done["steps"] if s["kind"] == "task" and not s["cached"]]
        assert ran == ["count", "chart"]
        assert (example.folder / "build" / "chart" / "chart.txt").read_bytes() == chart
        again = example.document("run", "-f", "recipe.toml", "-r", runtime)
        assert all(step["cached"] for step in again["steps"])


def test_the_first_is_told_what_it_would_have_needed(example: Copy) -> None:
    told = example.call("run", "-f", "upstream.json", *example.sets, "--monitor-memory").stderr
    assert "texts has 712.9 KiB (730000 B) in 2 files" in told
    assert f"asks for 17.4 MiB ({LIMIT} B), which suffices" in told
