"""Twenty and more contradictions: each is told with both chains, and where each begins.

The index is a pypiserver on loopback. No environment and no image is built, and an answer is there
within five seconds.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import resource
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coopery.testing.repositories import make_repository, package_files

from .conftest import Shop

SECONDS = 5.0


def wheel(folder: Path, name: str, version: str, *lines: str, tag: str = "py3-none-any") -> None:
    """A wheel whose METADATA has these lines; a bare one is a requirement."""
    stem = f"{name.replace('-', '_')}-{version}"
    more = "".join(f"{x if ': ' in x else f'Requires-Dist: {x}'}\n" for x in lines)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}"
    files = {
        f"{stem}.dist-info/METADATA": metadata,
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as archive:
        record = ""
        for file, text in files.items():
            archive.writestr(file, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            record += f"{file},sha256={digest.rstrip(b'=').decode()},{len(text)}\n"
        archive.writestr(f"{stem}.dist-info/RECORD", f"{record}{stem}.dist-info/RECORD,,\n")


def fill(index: Path) -> None:
    """The index of all cases."""
    for version in ("1.0", "2.0"):
        wheel(index, "alpha", version)
    for side, bound in (("low", "alpha<2"), ("high", "alpha>=2")):
        wheel(index, f"{side}-three", "1.0", bound)
        wheel(index, f"{side}-two", "1.0", f"{side}-three")
        wheel(index, f"{side}-one", "1.0", f"{side}-two")
        extra = f"Requires-Dist: {bound} ; extra == 'fast'"
        wheel(index, f"{side}-extra", "1.0", "Provides-Extra: fast", extra)
    wheel(index, "modern", "1.0")
    wheel(index, "modern", "2.0", "Requires-Python: >=3.99")
    wheel(index, "needs-modern", "1.0", "modern>=2")
    wheel(index, "elsewhere", "1.0", tag="cp311-cp311-win_amd64")
    wheel(index, "needs-elsewhere", "1.0", "elsewhere")
    wheel(index, "needs-own", "1.0", "own>=5")
    wheel(index, "needs-lost", "1.0", "alpha>=7")
    for version, bound in (("1.0", "alpha<1"), ("2.0", "alpha<2"), ("3.0", "alpha<=1.5")):
        wheel(index, "many", version, bound)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a recipe has, and what must be told of it."""

    recipe: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    setup: Callable[[Shop], None] = lambda shop: None
    told: tuple[str, ...]
    """Packages of both chains, and each line that begins one, as FILE:LINE."""
    slug: str = "dependency-conflict"


def project(name: str, *requires: str, version: str = "1.0") -> dict[str, str]:
    """The files of an own project with static metadata: its first requirement is at line 8."""
    lines = "".join(f"    {line!r},\n" for line in requires)
    text = (
        '[build-system]\nrequires = []\nbuild-backend = "own_backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "{version}"\ndependencies = [\n{lines}]\n'
    )
    backend = package_files(name)["own_backend.py"]
    return {f"{name}/pyproject.toml": text, f"{name}/own_backend.py": backend}


def two_git(shop: Shop) -> None:
    for name, bound in (("pack-low", "alpha<2"), ("pack-high", "alpha>=2")):
        make_repository(shop.folder, name).commit(package_files(name, requires=[bound]))


def two_commits(shop: Shop) -> None:
    dep = shop.repository("dep")
    dep.tag("v1")
    dep.commit(package_files("dep", "2.0"))
    for name, ref in (("pack-low", "v1"), ("pack-high", "main")):
        line = f"dep @ git+{shop.file_url('dep')}@{ref}"
        make_repository(shop.folder, name).commit(package_files(name, requires=[line]))


def one_git(shop: Shop) -> None:
    shop.repository("dep")


CASES = {
    "direct": Case(
        recipe='packages = ["alpha<2", "alpha>=2"]',
        told=("alpha<2", "alpha>=2", "recipe.toml:2 (image.science.packages[0])",
              "recipe.toml:2 (image.science.packages[1])"),
    ),
    "direct against a requirements file": Case(
        recipe='packages = ["alpha<2"]\nrequirements = ["requirements.txt"]',
        files={"requirements.txt": "# ours\n\nalpha>=2\n"},
        told=("recipe.toml:2", "requirements.txt:3: alpha>=2"),
    ),
    "two nested requirements files": Case(
        recipe='requirements = ["a.txt"]',
        files={"a.txt": "alpha<2\n-r sub/b.txt\n", "sub/b.txt": "-r c.txt\n",
               "sub/c.txt": "alpha>1\n"},
        told=("a.txt:1: alpha<2", "sub/c.txt:1: alpha>1"),
    ),
    "one level": Case(
        recipe='packages = ["low-three", "high-three"]',
        told=("low-three", "high-three", "alpha<2", "alpha>=2", "packages[0]", "packages[1]"),
    ),
    "three levels against a line": Case(
        recipe='packages = ["low-one"]\nrequirements = ["requirements.txt"]',
        files={"requirements.txt": "alpha==2.0\n"},
        told=("low-one", "low-two", "low-three", "alpha<2", "recipe.toml:2",
              "requirements.txt:1: alpha==2.0"),
    ),
    "three levels on both sides": Case(
        recipe='packages = ["low-one", "high-one"]',
        told=("low-one", "low-two", "low-three", "alpha<2", "high-one", "high-two", "high-three",
              "alpha>=2", "packages[0]", "packages[1]"),
    ),
    "an extra": Case(
        recipe='packages = ["low-extra[fast]", "alpha>=2"]',
        told=("low-extra[fast]", "alpha<2", "alpha>=2", "packages[0]", "packages[1]"),
    ),
    "two extras": Case(
        recipe='packages = ["low-extra[fast]", "high-extra[fast]"]',
        told=("low-extra", "high-extra", "alpha<2", "alpha>=2", "packages[0]", "packages[1]"),
    ),
    "a constraint": Case(
        recipe='packages = ["high-one"]\nrequirements = ["requirements.txt"]',
        files={"requirements.txt": "-c limits.txt\n", "limits.txt": "# limits\nalpha<2\n"},
        told=("high-one", "high-two", "high-three", "alpha>=2", "recipe.toml:2",
              "limits.txt:2: constraint alpha<2"),
    ),
    "the Python version": Case(
        recipe='python = "3.11"\npackages = ["modern>=2"]',
        told=("modern", "3.99", "recipe.toml:3"), slug="python-mismatch",
    ),
    "the Python version, through another": Case(
        recipe='python = "3.11"\npackages = ["needs-modern"]',
        told=("modern", "3.99", "needs-modern", "recipe.toml:3"), slug="python-mismatch",
    ),
    "the platform": Case(
        recipe='packages = ["elsewhere"]', told=("elsewhere", "recipe.toml:2", "platform"),
    ),
    "the platform, through another": Case(
        recipe='packages = ["needs-elsewhere"]',
        told=("elsewhere", "needs-elsewhere", "recipe.toml:2", "platform"),
    ),
    "a requirements file against a project's own metadata": Case(
        recipe='requirements = ["requirements.txt"]\nprojects = ["own"]',
        files={"requirements.txt": "# ours\nalpha<2\n", **project("own", "alpha>=2")},
        told=("requirements.txt:2: alpha<2", "own/pyproject.toml:9", "alpha>=2", "own"),
    ),
    "a project's own metadata through three levels": Case(
        recipe='packages = ["low-one"]\nprojects = ["own"]',
        files=project("own", "modern<2", "alpha>=2"),
        told=("low-one", "low-two", "low-three", "own/pyproject.toml:10", "recipe.toml:2"),
    ),
    "two projects": Case(
        recipe='projects = ["own", "other"]',
        files={**project("own", "alpha<2"), **project("other", "high-two")},
        told=("own/pyproject.toml:9", "other/pyproject.toml:9", "high-two", "alpha<2"),
    ),
    "what asks for another version of a project": Case(
        recipe='packages = ["needs-own"]\nprojects = ["own"]', files=project("own"),
        told=("needs-own", "own>=5", "own/pyproject.toml:6", "recipe.toml:2"),
    ),
    "two git packages": Case(
        setup=two_git, recipe='git = ["{pack-low}", "{pack-high}"]',
        told=("pack-low", "pack-high", "alpha<2", "alpha>=2", "git[0]", "git[1]"),
    ),
    "two git packages that want two commits of a third": Case(
        setup=two_commits, recipe='git = ["{pack-low}", "{pack-high}"]',
        told=("dep", "@v1", "@main", "pack-low", "pack-high", "git[0]", "git[1]"),
    ),
    "two commits of one git package": Case(
        setup=two_commits, recipe='git = ["{dep}"]\npackages = ["dep @ git+{dep}@v1"]',
        told=("dep", "@v1", "recipe.toml:2 (image.science.git[0])",
              "recipe.toml:3 (image.science.packages[0])"),
    ),
    "a git package against a version": Case(
        setup=one_git, recipe='git = ["{dep}"]\nrequirements = ["requirements.txt"]',
        files={"requirements.txt": "dep>=5\n"},
        told=("dep", "git[0]", "requirements.txt:1: dep>=5"),
    ),
    "a git package against an own project's metadata": Case(
        setup=two_git, recipe='git = ["{pack-low}"]\nprojects = ["own"]',
        files=project("own", "high-one"),
        told=("pack-low", "alpha<2", "high-one", "high-two", "high-three", "git[0]",
              "own/pyproject.toml:9"),
    ),
    "a git package and a project of one name": Case(
        setup=one_git, recipe='git = ["{dep}"]\nprojects = ["dep"]', files=project("dep"),
        told=("dep", "git[0]", "dep/pyproject.toml"),
    ),
    "no version fits": Case(
        recipe='packages = ["alpha>=3"]', told=("alpha", "alpha>=3", "recipe.toml:2"),
    ),
    "no version fits, through another": Case(
        recipe='packages = ["needs-lost"]',
        told=("alpha>=7", "needs-lost", "recipe.toml:2"),
    ),
    "every version of one contradicts another": Case(
        recipe='packages = ["many"]\nrequirements = ["requirements.txt"]',
        files={"requirements.txt": "high-two\n"},
        told=("many", "high-two", "high-three", "alpha>=2", "recipe.toml:2", "requirements.txt:1"),
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory, guard_index: Callable[..., str]) -> str:
    """The URL of the index."""
    folder = tmp_path_factory.mktemp("index")
    fill(folder)
    host = guard_index(folder, "cooper", "barrel")
    return f"http://cooper:barrel@{host}/simple/"


@pytest.mark.parametrize("name", CASES)
def test_a_conflict_is_told_with_both_chains(
    name: str, shop: Shop, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", index)
    case.setup(shop)
    recipe = case.recipe
    for path in shop.folder.glob("*.git"):
        recipe = recipe.replace(f"{{{path.stem}}}", path.as_uri())
    shop.project.write("recipe.toml", f"[image.science]\n{recipe}\n[task.a]\nimage = 'science'\n")
    shop.project.write("recipe.toml", shop.project.read("recipe.toml") + "command = 'true'\n")
    for file, text in case.files.items():
        shop.project.write(file, text)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    answer = shop.project.coopery("run")
    took = time.monotonic() - began
    if os.getloadavg()[0] > 2 * len(os.sched_getaffinity(0)):
        # Others keep the machine busy: what it takes by itself is what it computes.
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if os.environ.get("SHOW_CONFLICTS"):
        print(f"\n### {name} ({took:.1f} s)\n{answer.stderr}")
    assert answer.exit_code == 2, answer.stderr
    assert answer.stderr.count("error: ") == 1 and f"[{case.slug}]" in answer.stderr, answer.stderr
    said = re.sub(r"\s+", " ", answer.stderr)
    missing = [text for text in case.told if text not in said]
    assert not missing, f"{missing} missing in:\n{answer.stderr}"
    assert str(shop.uv_cache) not in answer.stderr and "Traceback" not in answer.stderr
    assert took < SECONDS
    built = [p.name for p in (shop.project.home / "places").glob("*")]
    assert built == [] and not (shop.project.root / "recipe.lock").exists()
