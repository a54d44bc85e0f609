"""The home is on a full disk while what goes into an image is made."""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from coopery.testing import Project

from .conftest import write_wheel
from .test_commands import fill, good

MUCH = random.Random(1).randbytes(6_000_000).hex()
"""More than the disk holds, and nothing that can be packed well."""


@pytest.mark.parametrize("what", ["packages", "sources", "archive"])
def test_space_runs_out_and_is_made(small_disk: Path, project: Project, what: str) -> None:
    there = replace(project, home=small_disk / "home")
    there.site.symlink_to(project.site)  # what the tests need takes no space of it
    project.site.mkdir()
    fill(project)
    match what:
        case "packages":
            alpha = write_wheel(
                project.root / "shelf", "alpha", files={"alpha.py": f"a = '{MUCH}'"}
            )
            digest = hashlib.sha256(alpha.read_bytes()).hexdigest()
            project.write("pins.json", json.dumps([["alpha", "1.0", f"sha256:{digest}"]]))
        case "sources":
            project.write("src/data", MUCH)
        case "archive":  # each of what it is made of fits
            project.write("src/data", MUCH[:4_400_000])
    answer = there.coopery("pack", "science", "-r", "boxes", "-o", "science.tar.gz")
    assert answer.exit_code == 3, answer.stderr
    assert re.search("hint: (free some space|make room there)", answer.told("disk-full"))
    assert "Traceback" not in answer.stderr
    assert list((there.home / "scratch").iterdir()) == []
    assert not (project.root / "science.tar.gz").exists()

    subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    good(there.coopery("pack", "science", "-r", "boxes", "-o", "science.tar.gz"))
    with tarfile.open(project.root / "science.tar.gz") as archive:
        assert "sources/work/src/text.txt" in archive.getnames()
