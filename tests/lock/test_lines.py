"""Requirement lines and requirements files: honoured or refused by name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

SHA = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy>=1.2,<2",
        "Pillow[xmp]~=10.1",
        "a.b_c-d==1.*",
        "x>=1.0rc1",
        "x ; python_version < '3.12'",
        "x[a,b] >= 1 ; sys_platform == 'linux' and extra == 'q'",
        "x===1.0-odd",
        "x (>=1)",
        "x @ https://host.example/x-1.0-py3-none-any.whl",
        "x @ https://${TOKEN}@host.example/x-1.0.tar.gz ; python_version > '3'",
    ],
)
def test_valid_lines_are_kept(bench: Any, line: str) -> None:
    bench.image(line)
    assert bench.problems() == []
    assert [r.line for r in bench.collect().requirements] == [line]


@pytest.mark.parametrize(
    ("line", "slug"),
    [
        ("numpy\n--index-url https://evil", "invalid-requirement"),
        ("numpy\rx", "invalid-requirement"),
        ("", "invalid-requirement"),
        ("# comment", "invalid-requirement"),
        ("--index-url https://evil", "invalid-requirement"),
        ("numpy --hash=" + SHA, "invalid-requirement"),
        ("numpy; rm -rf /", "invalid-requirement"),
        ("numpy $(id)", "invalid-requirement"),
        ("numpy>=", "invalid-requirement"),
        ("x>=1.*", "invalid-requirement"),
        ("x~=1", "invalid-requirement"),
        ("x @ ftp://host/x-1.0.tar.gz", "invalid-requirement"),
        ("x @ https://host/`id`.whl", "invalid-requirement"),
        ("x @ https://host/x.whl", "invalid-requirement"),
        ("x @ https://host/y-1.0-py3-none-any.whl", "invalid-requirement"),
        ("x==${V}", "invalid-requirement"),
        ("x @ https://u:s3cret@host/x-1.0-py3-none-any.whl", "credentials-in-file"),
        ("x @ https://ghp_123abc@host/x-1.0-py3-none-any.whl", "credentials-in-file"),
        ("x @ hg+https://host/x", "vcs-requirement"),
        ("x @ git+https://u:s3cret@host/x.git", "credentials-in-file"),
        ("git+https://ghp_123abc@host/x.git", "credentials-in-file"),
        ("x @ file:///tmp/x-1.0-py3-none-any.whl", "local-requirement"),
        ("./x", "local-requirement"),
        ("dist/x-1.0-py3-none-any.whl", "local-requirement"),
        ("https://host/archive/main.zip", "invalid-requirement"),
    ],
)
def test_bad_lines_are_refused_with_their_place(bench: Any, line: str, slug: str) -> None:
    bench.image("good", line)
    (found,) = bench.problems()
    assert found.slug == slug
    assert found.place.key == ("image", "a", "packages", 1)
    assert "s3cret" not in str(found) and "ghp_123abc" not in str(found)


def test_bare_urls_get_their_names(bench: Any) -> None:
    bench.image(
        "https://h.example/my_pkg-1.0-py3-none-any.whl",
        f"https://h.example/other-2.0.tar.gz#{SHA.replace(':', '=')}",
        "https://h.example/main.zip#egg=third[x]&subdirectory=sub ; python_version > '3'",
    )
    assert bench.problems() == []
    lines = bench.collect().requirements
    assert [r.line for r in lines] == [
        "my-pkg @ https://h.example/my_pkg-1.0-py3-none-any.whl",
        "other @ https://h.example/other-2.0.tar.gz",
        "third[x] @ https://h.example/main.zip#subdirectory=sub ; python_version > '3'",
    ]
    assert lines[1].hashes == (SHA,)


def test_a_requirements_file_in_all_its_forms(bench: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("FLOOR", "1.5")
    (bench.root / "sub").mkdir()
    (bench.root / "sub" / "more.txt").write_text("-r deep.txt\nmore\n")
    (bench.root / "sub" / "deep.txt").write_text("deep\n")
    (bench.root / "limits.txt").write_text("capped<3\n")
    (bench.root / "folder").mkdir()
    bench.image(
        requirements=f"""\ufeff# a comment
-i https://${{USER_X}}:${{PASS_X}}@index.example/simple
--extra-index-url=https://extra.example/simple  # trailing comment
-f folder
--pre
--only-binary one,two
--no-binary :all:
--no-binary :none:

one>=${{FLOOR}}
two==1.0 \\
    --hash={SHA} \\
    --hash=sha512:{"b" * 128}
# between
three[x,y] \\
   >= 2 ; python_version >= "3"
-r sub/more.txt
--constraint limits.txt
"""
    )
    assert bench.problems() == []
    found = bench.collect()
    assert [(r.line, r.constraint, str(r.place)) for r in found.requirements] == [
        ("one>=1.5", False, "requirements.txt:10"),
        ("two==1.0", False, "requirements.txt:11"),
        ('three[x,y] >= 2 ; python_version >= "3"', False, "requirements.txt:15"),
        ("deep", False, "sub/deep.txt:1"),
        ("more", False, "sub/more.txt:2"),
        ("capped<3", True, "limits.txt:1"),
    ]
    assert found.requirements[1].hashes == (SHA, "sha512:" + "b" * 128)
    index = found.index
    assert index.index_url == "https://${USER_X}:${PASS_X}@index.example/simple"
    assert index.extra_index_urls == ("https://extra.example/simple",)
    assert index.find_links == (str(bench.root / "folder"),)
    assert (index.pre, index.only_binary, index.no_binary) == (True, ("one", "two"), ())


@pytest.mark.parametrize(
    ("line", "slug"),
    [
        ("-e .", "unsupported-option"),
        ("-e.", "unsupported-option"),
        ("--editable=./x", "unsupported-option"),
        ("--trusted-host h", "unsupported-option"),
        ("--use-feature=fast-deps", "unsupported-option"),
        ("--require-hashes", "unsupported-option"),
        ("--no-require-hashes", "unsupported-option"),
        ("--all-releases :all:", "unsupported-option"),
        ("--only-final=x", "unsupported-option"),
        ("--prefer-binary", "unsupported-option"),
        ("x --config-settings=a=b", "unsupported-option"),
        ("x==1 --global-option=q", "unsupported-option"),
        ("-r https://host/r.txt", "unsupported-option"),
        ("--indx-url https://x", "unknown-option"),
        ("-q", "unknown-option"),
        ("x --pre", "unknown-option"),
        ("x --frobnicate", "unknown-option"),
        ("--no-index=1", "invalid-requirement"),
        ("--index-url", "invalid-requirement"),
        ("--index-url simple", "invalid-requirement"),
        ("x==1 --hash=md5:" + "a" * 32, "invalid-requirement"),
        ("x==1 --hash=sha256:abc", "invalid-requirement"),
        ("x>=1 --hash=" + SHA, "invalid-requirement"),
        ("x --hash='", "invalid-requirement"),
        ("-i https://user:s3cret@host/simple", "credentials-in-file"),
        ("x>=${NOT_SET_ANYWHERE}", "unset-variable"),
        ("-r absent.txt", "missing-file"),
        ("-r requirements.txt", "requirements-cycle"),
        ("-f nowhere", "missing-file"),
        ("../x", "local-requirement"),
        ("git+git://h/x.git#egg=x", "git-url"),
    ],
)
def test_bad_file_lines_are_refused_by_name(bench: Any, line: str, slug: str) -> None:
    bench.image(requirements=f"good\n\n{line}\n")
    found = bench.problems()
    assert slug in [p.slug for p in found]
    assert {str(p.place) for p in found} == {"requirements.txt:3"}
    assert "s3cret" not in str(found)


def test_all_problems_come_together_and_once(bench: Any) -> None:
    bench.image("-bad", requirements="x>=\ny\n--nope\n")
    bench.image(name="b", requirements="x>=\ny\n--nope\n")
    assert [p.slug for p in bench.problems()] == [
        "invalid-requirement",
        "invalid-requirement",
        "unknown-option",
    ]


def test_a_missing_file_offers_the_nearest(bench: Any) -> None:
    bench.image(requirements="x")
    (bench.root / "requirements.txt").rename(bench.root / "requirement.txt")
    (found,) = bench.problems()
    assert found.slug == "missing-file"
    assert found.hint == "did you mean 'requirement.txt'?"
    assert found.place.key == ("image", "a", "requirements", 0)


def test_plain_lines_import_nothing_heavy() -> None:
    code = (
        "import sys, coopery_lock; from pathlib import Path;"
        "from coopery.model import Image, Recipe;"
        "packages = coopery_lock.Packages(lines=('numpy~=2.1','x[y]>=1,<2'));"
        "image = Image(name='a', facets=(packages,));"
        "recipe = Recipe(file=Path('r.toml'), root=Path('.'), images={'a': image}, tasks={});"
        "assert len(coopery_lock.collect_requirements(recipe, image).requirements) == 2;"
        "sys.exit('packaging' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
