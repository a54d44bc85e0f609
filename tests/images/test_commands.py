"""`coopery dockerfile`, `context` and `pack`, as a user calls them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from coopery.testing import Answer, Project, make_project

from .conftest import REFERENCE, Engine, write_wheel

RUNTIME = '''
"""A runtime whose images have bases, as far as commands about images need one."""
import json
from pathlib import Path
from coopery.dependencies import IndexOptions, Lock, Pin
from coopery.hooks import hookimpl
from coopery.images import Base

@hookimpl
def runtime_names():
    return ["boxes"]

@hookimpl
def wants_bases(runtime):
    return True if runtime == "boxes" else None

@hookimpl
def inspect_base(reference, runtime):
    if runtime == "boxes":
        return Base(
            reference=reference, id="sha256:" + "1" * 64, platform="linux/amd64",
            python="3.11.2", executable="/usr/bin/python3", libc="glibc 2.36",
        )

@hookimpl
def resolve(recipe, sets, inspect):
    shelf = recipe.root / "shelf"
    pins = [
        Pin(name=n, version=v, hashes=(h,))
        for n, v, h in json.loads((recipe.root / "pins.json").read_text())
    ]
    return Lock(
        pins={s.image: tuple(pins) for s in sets},
        index={s.image: IndexOptions(find_links=(str(shelf),), no_index=True) for s in sets},
        bases={s.image: inspect(s.base) for s in sets},
    )
'''
RECIPE = """
[image.science]
python = "3.11"
base = "python:3.11-slim"
packages = ["alpha"]
wheels = ["own/beta-2.0-py3-none-any.whl"]
sources = ["src"]
system = [{ name = "libgomp1", local = "assume" }, { name = "zlib1g", local = "assume" }]
env = { GREETING = "hello $HOME" }

[image.plain]
python = "3.11"
base = "python:3.11-slim"
sources = ["src"]

[task.greet]
image = "plain"
description = "Writes a greeting."
command = [
    "sh", "-c", "(cat {inputs.who} src/text.txt; echo \\"$0\\") > {outputs.said}", "{params.word}",
]
params.word = "it's \\"quoted\\" $HOME\\n<<EOF"
inputs.who = "who.txt"
outputs.said = "said.txt"

[task.each]
image = "plain"
matrix.fold = [0, 1]
command = ["true"]

[task.bare]
command = ["true"]
"""


def fill(project: Project) -> Project:
    """A project with all that an image can have."""
    project.plugin("boxes", RUNTIME)
    alpha = write_wheel(project.root / "shelf", "alpha", scripts=["alpha"])
    write_wheel(project.root / "own", "beta", "2.0", scripts=["beta"])
    digest = hashlib.sha256(alpha.read_bytes()).hexdigest()
    project.write("pins.json", json.dumps([["alpha", "1.0", f"sha256:{digest}"]]))
    project.write("src/text.txt", "a text\n")
    project.write("src/run.sh", "#!/bin/sh\n").chmod(0o755)
    project.write("who.txt", "you\n")
    project.write("recipe.toml", RECIPE)
    return project


def elsewhere(folder: Path) -> Project:
    """Another project with another home, further down."""
    deeper = folder / "elsewhere" / "deeper"
    deeper.mkdir(parents=True)
    return make_project(deeper)


@pytest.fixture
def filled(project: Project) -> Project:
    return fill(project)


def good(answer: Answer) -> Answer:
    assert answer.exit_code == 0, answer.stderr
    return answer


def test_a_dockerfile_is_printed(filled: Project) -> None:
    text = good(filled.coopery("dockerfile", "science", "-r", "boxes")).stdout
    lines = text.splitlines()
    assert f"FROM {REFERENCE}" in lines
    words = [line.split(" ")[0] for line in lines if line and not line.startswith("#")]
    assert words[:9] == ["FROM", "USER", "RUN", "COPY", "RUN", "COPY", "RUN", "COPY", "ENV"]
    assert '"libgomp1", "zlib1g"]' in text
    assert 'ENV GREETING="hello \\$HOME"' in lines
    assert "--mount" not in text
    assert 'LABEL coopery.wheels="beta"' in lines
    assert text == good(filled.coopery("dockerfile", "science", "-r", "boxes")).stdout
    cached = good(filled.coopery("dockerfile", "science", "-r", "boxes", "--buildkit")).stdout
    assert "RUN --mount=type=cache,sharing=locked,target=/var/cache/apt " in cached
    assert not (filled.home / "places").exists()


def test_the_limit_of_a_context_counts_for_every_command(filled: Project) -> None:
    (filled.root / "src" / "large").write_bytes(b"x" * 1_100_000)
    command = ("pack", "science", "-r", "boxes", "--context-limit", "1")
    assert "over the limit of 1 MB" in good(filled.coopery(*command)).stderr
    quiet = filled.coopery("pack", "science", "-r", "boxes", "--overwrite")
    assert "over the limit" not in good(quiet).stderr


def test_a_context_is_listed_with_its_sizes(filled: Project) -> None:
    (filled.root / "src" / "certificate.pem").write_text("x" * 100)
    filled.write("recipe.toml", RECIPE.replace('["src"]', '[{path="src", include=["**"]}]'))
    command = ("context", "science", "-r", "boxes")
    refused = filled.coopery(*command)
    assert refused.slugs  # as ever: it is named to its last letter, or stays out
    include = '[{path="src", include=["certificate.pem", "text.txt", "run.sh"]}]'
    filled.write("recipe.toml", RECIPE.replace('["src"]', include))
    found = good(filled.coopery(*command, "--json"))
    files = {item["path"]: item for item in found.json["files"]}
    text = files["sources/work/src/text.txt"]
    assert (text["part"], text["size"]) == ("sources", 7)
    site = "opt/coopery/env/lib/python3.11/site-packages"
    assert files[f"packages/{site}/alpha.py"]["part"] == "dependencies"
    assert files[f"wheels/{site}/beta.py"]["part"] == "wheels"
    assert files["Dockerfile"]["size"] > 100
    assert found.json["size"] == sum(item["size"] for item in files.values())
    assert found.json["size"] == sum(found.json["parts"].values())
    [warning] = found.json["warnings"]
    assert "certificate.pem looks like credentials" in warning
    assert f"warning: {warning}" in found.stderr
    shown = good(filled.coopery(*command)).stdout.splitlines()
    assert any(line.split() == ["7", "sources/work/src/text.txt"] for line in shown)
    assert shown[-1].endswith("= all")


def test_a_folder_that_is_not_there_is_no_place_for_an_archive(filled: Project) -> None:
    answer = filled.coopery("pack", "plain", "-r", "boxes", "-o", "mistyped/x.tgz")
    assert "there is no folder" in answer.told("bad-option")
    assert not (filled.root / "mistyped").exists()


def test_why_an_archive_is_made_again_is_told_in_words(filled: Project) -> None:
    """The package's version, once, whatever parts of its tree are copied; and no bytes."""
    command = ("pack", "science", "-r", "boxes")
    good(filled.coopery(*command))
    alpha = write_wheel(filled.root / "shelf", "alpha", "1.1", scripts=["alpha"])
    digest = hashlib.sha256(alpha.read_bytes()).hexdigest()
    filled.write("pins.json", json.dumps([["alpha", "1.1", f"sha256:{digest}"]]))
    told = good(filled.coopery(*command)).stderr
    line = next(line for line in told.splitlines() if line.startswith("done     archive"))
    assert "packages science changed" in line and "bytes" not in line and "copy " not in line
    assert "requirements.txt changed: alpha==1.0 -> alpha==1.1" in line
    filled.write("recipe.toml", RECIPE.replace("hello $HOME", "goodbye"))
    told = good(filled.coopery(*command)).stderr
    line = next(line for line in told.splitlines() if line.startswith("done     archive"))
    assert 'Dockerfile changed: ENV GREETING="hello \\$HOME" -> ENV GREETING="goodbye"' in line


def test_an_option_that_would_be_ignored_is_refused(filled: Project) -> None:
    command = ("science", "-r", "boxes")
    flags = ["--junit", "j.xml", "--report", "r.html", "--priority", "3", "-j", "2"]
    flags += ["--capacity", "disk=1", "--cache-budget", "1G", "--context-limit", "3"]
    told = filled.coopery("dockerfile", *command, *flags).told("bad-command-line")
    assert f"unrecognized arguments: {' '.join(flags)}" in told
    told = filled.coopery("context", *command, "--context-limit", "-5").told("bad-option")
    assert "--context-limit: expected at least 0, found -5" in told
    # What performs steps heeds how.
    assert filled.coopery("pack", *command, "--capacity", "disk").slugs == ("bad-option",)
    told = filled.coopery("dockerfile", "science", "--help").stdout
    assert "the runtime whose image it is (default: docker)" in told and "local" not in told


def test_a_version_that_a_family_has_no_room_for_is_refused(filled: Project) -> None:
    family = '[family.tools]\ntemplate = "python:3.11-slim"\n'
    text = RECIPE.replace('base = "python:3.11-slim"', 'base = { family = "tools" }')
    filled.write("recipe.toml", family + text)
    command = ("dockerfile", "science", "-r", "boxes")
    told = filled.coopery(*command, "--base-version", "tools=3").told("bad-option")
    assert "the template of 'tools' has no {version}" in told
    good(filled.coopery(*command))


def test_a_context_over_the_limit_is_warned_of(filled: Project) -> None:
    (filled.root / "src" / "large.bin").write_bytes(bytes(2_500_000))
    command = ("context", "greet", "-r", "boxes")
    assert "over the limit" not in good(filled.coopery(*command)).stderr
    told = good(filled.coopery(*command, "--context-limit", "2")).stderr
    assert "over the limit of 2 MB" in told
    assert "sources/work/src/large.bin, 2.5 MB" in told


def test_the_context_is_what_the_archive_holds(filled: Project) -> None:
    for name in ("science", "greet"):
        listed = good(filled.coopery("context", name, "-r", "boxes", "--json")).json
        good(filled.coopery("pack", name, "-r", "boxes"))
        with tarfile.open(filled.root / f"{name}.tar.gz") as archive:
            held = {m.name: m.size for m in archive if not m.isdir()}
        assert {i["path"]: i["size"] for i in listed["files"]} == held


def packed(project: Project, name: str, *more: str) -> bytes:
    good(project.coopery("pack", name, "-r", "boxes", "-o", "out.tgz", *more))
    return (project.root / "out.tgz").read_bytes()


def test_an_archive_is_remembered(filled: Project) -> None:
    first = filled.coopery("pack", "science", "-r", "boxes", "--json")
    assert good(first).json["archive"] == str(filled.root / "science.tar.gz")
    content = (filled.root / "science.tar.gz").read_bytes()
    assert first.json["size"] == len(content)
    again = good(filled.coopery("pack", "science", "-r", "boxes"))
    assert "cached" in again.stderr
    assert again.stdout == f"{filled.root / 'science.tar.gz'}\n"
    (filled.root / "src" / "text.txt").write_text("another\n")
    good(filled.coopery("pack", "science", "-r", "boxes"))
    assert (filled.root / "science.tar.gz").read_bytes() != content
    (filled.root / "science.tar.gz").write_text("mine")
    (filled.root / "src" / "text.txt").write_text("a third\n")
    assert filled.coopery("pack", "science", "-r", "boxes").slugs == ("output-edited",)
    good(filled.coopery("pack", "science", "-r", "boxes", "--overwrite"))


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("name", ["science", "greet"])
def test_two_checkouts_make_the_same_archive(filled: Project, tmp_path: Path, name: str) -> None:
    """Other folders, home, umask, times, locale and language of the machine: the same bytes."""
    git(filled.root, "init", "-q")
    (filled.root / ".gitignore").write_text("*.tgz\n")
    git(filled.root, "add", ".")
    git(filled.root, "commit", "-qm", "one")
    first = packed(filled, name)
    other = elsewhere(tmp_path)
    other.plugin("boxes", RUNTIME)
    other.root.rmdir()
    git(tmp_path, "clone", "-q", str(filled.root), str(other.root))
    for path in other.root.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        if path.is_file() and ".git" not in path.parts:
            path.chmod(0o700 if path.stat().st_mode & 0o100 else 0o600)
    git(other.root, "config", "core.fileMode", "false")
    git(other.root, "remote", "remove", "origin")
    before = os.umask(0o077)
    try:
        second = packed(other, name)
    finally:
        os.umask(before)
    assert gzip.decompress(second) == gzip.decompress(first)
    assert second == first
    assert first[4:8] == bytes(4)
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        members = archive.getmembers()
        assert {(m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, "", "")}
        assert {m.mtime for m in members} == {315532800}
        assert not [m.name for m in members if m.name.startswith("/") or ".." in m.name]
        dockerfile = archive.extractfile("Dockerfile")
        assert dockerfile is not None
        text = dockerfile.read()
        assert b'coopery.dirty="false"' in text
        assert (b"beta-2.0-py3-none-any.whl@sha256:" in text) is (name == "science")


def test_a_packed_task_tells_what_its_container_may(filled: Project) -> None:
    """All that the recipe says of it, and folders that are there for whoever it runs as."""
    more = """
    [task.at_ease]
    image = "plain"
    command = ["true"]
    container = { network = "host" }
    resources = { cpu = 1.5, memory = "1G", shm = "64M", gpu = 2 }
    outputs = { one = { path = "one.txt", mount = "/data/one.txt" }, all = "all/" }
    [task.as_root]
    image = "plain"
    command = ["true"]
    container = { user = "0:0", privileged = true, capabilities = ["SYS_PTRACE"] }
    outputs.one = "two.txt"
    """
    filled.write("recipe.toml", RECIPE.partition("[task.bare]")[0] + more)
    # The bases as before, of the runtime that has containers; no engine is asked.
    docker = RUNTIME.replace('"boxes"', '"docker"').replace("def runtime_names", "def _")
    filled.plugin("bases", docker.replace("@hookimpl\ndef _", "def _"))
    found = {}
    for name in ("at_ease", "as_root"):
        with tarfile.open(fileobj=io.BytesIO(packed(filled, name, "-r", "docker"))) as archive:
            described = archive.extractfile("DESCRIPTION.md")
            assert described is not None
            lines = described.read().decode().splitlines()
        found[name] = [line.strip() for line in lines if line.startswith("    ")][1:]
    assert found["at_ease"] == [
        "mkdir -p /folder/for/all /folder/for/one",
        "docker run --rm --init --user $(id -u):$(id -g) --network host "
        "--cpus 1.5 --memory 1000000000 --memory-swap 1000000000 --shm-size 64000000 --gpus 2 "
        "-v /folder/for/all:/coopery/outputs/all/all -v /folder/for/one:/data at_ease",
    ]
    assert found["as_root"] == [
        "mkdir -p /folder/for/one",
        "chmod 0777 /folder/for/one",
        "docker run --rm --init --user 0:0 --cap-add SYS_PTRACE --privileged "
        "-v /folder/for/one:/coopery/outputs/one as_root",
    ]


@pytest.mark.parametrize("buildkit", [False, True], ids=["classic", "buildkit"])
def test_a_packed_task_runs_with_plain_docker(
    filled: Project, engine: Engine, tmp_path: Path, buildkit: bool
) -> None:
    content = packed(filled, "greet")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        described = archive.extractfile("DESCRIPTION.md")
        assert described is not None
        text = described.read().decode()
    assert text.startswith("# greet\n\nWrites a greeting.\n")
    assert "- `who`: `/coopery/inputs/who/who.txt`" in text
    image = engine.build_tar(gzip.decompress(content), buildkit=buildkit)
    # As the description prints it, on folders of one's own; the engine's folders would be root's.
    built, *lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert built == "docker build -t greet ."
    script = "\n".join(["set -e", *lines]).removesuffix(" greet") + f" {image}"
    folder = tmp_path / "made"
    script = script.replace("/folder/for/said", str(folder))
    script = script.replace("/path/of/who", str(filled.root / "who.txt"))
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    made = next(folder.iterdir())
    assert made.read_text() == 'you\na text\nit\'s "quoted" $HOME\n<<EOF\n'
    good(filled.coopery("run", "greet"))
    # What the runtime of this machine makes is the same, by the recipe's own name.
    assert (filled.root / "said.txt").read_text() == made.read_text()
    assert made.name == "said.txt"


def test_a_packed_function_brings_all_it_needs(
    project: Project, engine: Engine, tmp_path: Path
) -> None:
    fill(project)
    (project.root / "recipe.toml").unlink()
    project.write(
        "recipe.py",
        '''
        from pathlib import Path
        from coopery import Image, task

        plain = Image(python="3.11", base="python:3.11-slim")

        def helper(text):
            return text.upper()

        @task(image=plain, outputs={"said": "said.txt"})
        def shout(said: Path, word: str = "hey") -> None:
            """Says a word loudly."""
            said.write_text(helper(word))
        ''',
    )
    content = packed(project, "shout")
    image = engine.build_tar(gzip.decompress(content), buildkit=False)
    folder = tmp_path / "made"
    folder.mkdir()
    folder.chmod(0o777)
    engine.run(image, volumes={str(folder): {"bind": "/coopery/outputs/said", "mode": "rw"}})
    assert (folder / "said.txt").read_text() == "HEY"
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        described = archive.extractfile("DESCRIPTION.md")
        assert described is not None
        assert b"Says a word loudly." in described.read()
    # From another folder and another home: the same archive.
    other = elsewhere(tmp_path)
    other.plugin("boxes", RUNTIME)
    shutil.copytree(project.root, other.root, dirs_exist_ok=True)
    (other.root / "out.tgz").unlink()
    assert packed(other, "shout") == content


STEADY = """
import abc
import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import beside
from coopery import Image, task

plain = Image(python="3.11", base="python:3.11-slim")
T = TypeVar("T")
WORDS = {"one", "two", "three", "four", 5, ("six", 7)}


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Flags(enum.Flag):
    A = 1
    B = 2


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...

    @abc.abstractmethod
    def name(self): ...

    @abc.abstractmethod
    def edges(self): ...


class Square(Shape):
    class Side:
        length = 3

    def area(self):
        return self.Side.length ** 2

    def name(self):
        return "square"

    def edges(self):
        return 4


@Shape.register
class Blob: ...


@Shape.register
class Dot: ...


@dataclass(frozen=True)
class Row(Generic[T]):
    v: T


class Pair(NamedTuple):
    a: int
    b: str


Dynamic = type("Dynamic", (), {"w": frozenset({"x", "y", "z"})})


@task(image=plain, outputs={"o": "p.txt"})
def go(o: Path) -> None:
    class Local(Row):
        pass

    flags = Flags.A | Flags.B
    found = [Local(7).v, Square().area(), Colour.BLUE.value, flags.value, Pair(1, "b").b]
    found += [issubclass(Blob, Shape), issubclass(Dot, Shape), "y" in Dynamic.w, len(WORDS)]
    found += [Colour.RED is beside.favourite(Colour), "k" in {"i", "j", "k"}]
    o.write_text(repr(found))
"""


def test_the_classes_and_sets_of_a_packed_function_are_the_same_everywhere(
    project: Project, tmp_path: Path
) -> None:
    """In processes that order sets in ways of their own, with modules compiled before or not."""
    other = elsewhere(tmp_path)
    contents, payloads = [], []
    for seed, place in enumerate((project, other, other)):
        if not place.site.exists():
            fill(place)
            (place.root / "recipe.toml").unlink()
        place.write("beside.py", "def favourite(colours):\n    return colours.RED\n")
        place.write("recipe.py", STEADY)
        (place.root / "out.tgz").unlink(missing_ok=True)
        seeded = {"PYTHONHASHSEED": str(seed + 1)}
        good(place.coopery("pack", "go", "-r", "boxes", "-o", "out.tgz", env=seeded))
        contents.append((place.root / "out.tgz").read_bytes())
        with tarfile.open(fileobj=io.BytesIO(contents[-1])) as archive:
            archive.extractall(tmp_path / f"told{seed}", filter="tar")
        payloads.append((tmp_path / f"told{seed}/task/coopery/aux/payload.pkl").read_bytes())
    assert payloads[0] == payloads[1] == payloads[2]
    assert contents[0] == contents[1] == contents[2]
    aux = tmp_path / "told0/task/coopery/aux"
    command = [sys.executable, "runner.py", "call.json", "payload.pkl", "cloudpickle.zip"]
    environ = {**os.environ, "COOPERY_OUTPUT_O": str(tmp_path / "o")}
    subprocess.run(command, cwd=aux, env=environ, check=True)
    expected = [7, 9, "blue", 3, "b", True, True, True, 6, True, True]
    assert (tmp_path / "o").read_text() == repr(expected)


@pytest.mark.parametrize(
    ("command", "slug", "hint"),
    [
        (("dockerfile", "scince"), "unknown-image", "did you mean 'science'?"),
        (("dockerfile", "greet"), "unknown-image", ""),
        (("build", "scince"), "unknown-image", "did you mean 'science'?"),
        (("context", "gret"), "unknown-target", "did you mean 'greet'?"),
        (("context", "scince"), "unknown-target", "did you mean 'science'?"),
        (("pack", "scince"), "unknown-target", "did you mean 'science'?"),
        (("why", "scince"), "unknown-target", "did you mean 'science'?"),
        (("pack", "each"), "one-task", "such as each@fold=0"),
        (("pack", "bare"), "no-image", "give it one"),
        (("pack", "science", "-r", "local"), "runtime-without-images", "leave -r away"),
        (("pack", "science", "-r", "boxs"), "unknown-runtime", "did you mean 'boxes'?"),
    ],
)
def test_what_cannot_be_meant_is_told(
    filled: Project, command: tuple[str, ...], slug: str, hint: str
) -> None:
    more = () if "-r" in command else ("-r", "boxes")
    answer = filled.coopery(*command, *more)
    assert answer.exit_code == 2
    assert hint in answer.told(slug)


def test_a_runtime_that_is_only_preferred_gives_way(filled: Project) -> None:
    """Who mostly runs in the local runtime can look at images without more ado."""
    answer = filled.coopery("dockerfile", "science", env={"COOPERY_RUNTIME": "boxes"})
    assert good(answer).stdout.startswith("# Image science")


def test_one_instance_is_packed(filled: Project) -> None:
    good(filled.coopery("pack", "each@fold=1", "-r", "boxes"))
    assert (filled.root / "each@fold=1.tar.gz").exists()


def test_a_line_break_in_a_task_s_variable_is_told(filled: Project) -> None:
    filled.write(
        "recipe.toml", RECIPE + '[task.bad]\nimage="plain"\ncommand="true"\nenv.A="x\\ny"\n'
    )
    answer = filled.coopery("pack", "bad", "-r", "boxes")
    assert "bad cannot be packed" in answer.told("not-quotable")


def test_a_python_recipe_says_families_too(project: Project) -> None:
    fill(project)
    (project.root / "recipe.toml").unlink()
    project.write(
        "recipe.py",
        """
        from coopery import Image, family

        family("tools", template="a.example/tools:{version}-py{python}", version="7")
        science = Image(python="3.11", base={"family": "tools"})
        """,
    )
    command = ("dockerfile", "science", "-r", "boxes")
    assert "FROM a.example/tools:7-py3.11\n" in good(project.coopery(*command)).stdout
    told = good(project.coopery(*command, "--base-version", "tools=latest")).stdout
    assert "FROM a.example/tools:latest-py3.11\n" in told
