"""Every form of a line in pip's documentation, and every URL form of `packaging`'s and pip's.

Each is honoured, or refused by name, with its place and a mend. The documentation: pip's
Requirements File Format, Requirement Specifiers, VCS Support and Local project installs;
`packaging` in its tests of requirements.
"""

from __future__ import annotations

from typing import Any

import pytest

SHA = "sha256:" + "a" * 64
COMMIT = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
HOST = "https://git.example.com"

HONOURED = {
    # Requirement specifiers
    "pytest": "pytest",
    "docopt == 0.6.1": "docopt == 0.6.1",
    "SomeProject >= 1.2, < 2.0": "SomeProject >= 1.2, < 2.0",
    "SomeProject[foo, bar]": "SomeProject[foo, bar]",
    "SomeProject ~= 1.4.2": "SomeProject ~= 1.4.2",
    "SomeProject == 5.4 ; python_version < '3.8'": "SomeProject == 5.4 ; python_version < '3.8'",
    "SomeProject ; sys_platform == 'win32'": "SomeProject ; sys_platform == 'win32'",
    'requests [security] >= 2.8.1, == 2.8.* ; python_version < "2.7"': (
        'requests [security] >= 2.8.1, == 2.8.* ; python_version < "2.7"'
    ),
    f"x==1.0 --hash={SHA}": "x==1.0",
    f"x==1.0 --hash {SHA} --hash=sha384:{'b' * 96}": "x==1.0",
    "x # a comment": "x",
    "x \\\n  >= 2": "x >= 2",
    # Archives
    "urllib3 @ https://github.com/urllib3/urllib3/archive/refs/tags/1.26.8.zip": (
        "urllib3 @ https://github.com/urllib3/urllib3/archive/refs/tags/1.26.8.zip"
    ),
    "http://h.example/Phoenix/wxPython_Phoenix-3.0.3.dev1820+49a8884-cp34-none-win_amd64.whl": (
        "wxPython-Phoenix @ "
        "http://h.example/Phoenix/wxPython_Phoenix-3.0.3.dev1820+49a8884-cp34-none-win_amd64.whl"
    ),
    'r [s] @ https://h.example/main.zip ; python_version >= "3.11"': (
        'r[s] @ https://h.example/main.zip ; python_version >= "3.11"'
    ),
    "name@http://foo.com": "name @ http://foo.com",
    # Git, in pip's documentation
    f"MyProject @ git+{HOST}/MyProject": f"MyProject @ git+{HOST}/MyProject",
    f"MyProject[extra] @ git+{HOST}/MyProject": f"MyProject[extra] @ git+{HOST}/MyProject",
    f"git+{HOST}/MyProject": f"MyProject @ git+{HOST}/MyProject",
    f"git+{HOST}/MyProject.git": f"MyProject @ git+{HOST}/MyProject.git",
    "MyProject @ git+ssh://git@git.example.com/MyProject": (
        "MyProject @ git+ssh://git@git.example.com/MyProject"
    ),
    "MyProject @ git+file:///home/user/projects/MyProject": (
        "MyProject @ git+file:///home/user/projects/MyProject"
    ),
    "MyProject @ git+http://git.example.com/MyProject": (
        "MyProject @ git+http://git.example.com/MyProject"
    ),
    f"MyProject @ git+{HOST}/MyProject.git@master": (
        f"MyProject @ git+{HOST}/MyProject.git@master"
    ),
    f"MyProject @ git+{HOST}/MyProject.git@v1.0": f"MyProject @ git+{HOST}/MyProject.git@v1.0",
    f"MyProject @ git+{HOST}/MyProject.git@{COMMIT}": (
        f"MyProject @ git+{HOST}/MyProject.git@{COMMIT}"
    ),
    f"MyProject @ git+{HOST}/MyProject.git@refs/pull/123/head": (
        f"MyProject @ git+{HOST}/MyProject.git@refs/pull/123/head"
    ),
    f"pkg @ git+{HOST}/repo_url/#subdirectory=pkg_dir": (
        f"pkg @ git+{HOST}/repo_url#subdirectory=pkg_dir"
    ),
    f"git+{HOST}/r.git#egg=pkg&subdirectory=pkg_dir": (
        f"pkg @ git+{HOST}/r.git#subdirectory=pkg_dir"
    ),
    f"git+{HOST}/r.git@dev#egg=zope_interface": f"zope_interface @ git+{HOST}/r.git@dev",
    f"git+{HOST}/r@dev%401%232#egg=myproj": f"myproj @ git+{HOST}/r@dev%401%232",
    f"git+{HOST}/r.git@v1 ; python_version > '3'": (
        f"r @ git+{HOST}/r.git@v1 ; python_version > '3'"
    ),
    f"x[b,a]@git+{HOST}/r.git": f"x[a,b] @ git+{HOST}/r.git",
    # Git, in packaging's tests
    "x @ git+ssh://git.example.com/MyProject": "x @ git+ssh://git.example.com/MyProject",
    "x @ git+ssh://git@github.com:pypa/packaging.git": (
        "x @ git+ssh://git@github.com/pypa/packaging.git"
    ),
    "x @ git+ssh://git@host.example:2222/a/b.git@main": (
        "x @ git+ssh://git@host.example:2222/a/b.git@main"
    ),
    "x @ git+file://localhost/srv/x.git": "x @ git+file:///srv/x.git",
    # Credentials in variables
    "x @ git+https://${TOKEN}@git.example.com/x.git": f"x @ git+{HOST}/x.git",
    "x @ git+https://${U}:${T}@git.example.com/x.git@main": f"x @ git+{HOST}/x.git@main",
    "x @ git+https://cooper@git.example.com/x.git": (
        "x @ git+https://cooper@git.example.com/x.git"
    ),
}
"""What is written in a requirements file, and the line that is made of it."""

REFUSED = {
    "./downloads/numpy-1.9.2-cp34-none-win32.whl": "local-requirement",
    "./project": "local-requirement",
    "x @ file:///builds/x-1.0-py3-none-any.whl": "local-requirement",
    "file:///builds/x-1.0.tar.gz": "local-requirement",
    "x @ ./local": "local-requirement",
    "-e .": "unsupported-option",
    "-e ./project[extra]": "unsupported-option",
    f"-e git+{HOST}/x.git#egg=x": "unsupported-option",
    f"-e x @ git+{HOST}/x.git": "unsupported-option",
    f"--editable=git+{HOST}/x.git@v1#egg=x": "unsupported-option",
    "x --config-settings=k=v": "unsupported-option",
    "x --config-setting k=v": "unsupported-option",
    "x @ git://git.example.com/x": "vcs-requirement",
    "x @ git+git://git.example.com/x": "git-url",
    "x @ git+ftp://git.example.com/x": "git-url",
    "x @ git+rsync://git.example.com/x": "git-url",
    "x @ git+file:../x": "git-url",
    "x @ git+file://server/x": "git-url",
    f"x @ git+{HOST}/x.git@": "git-url",
    f"x @ git+{HOST}/x.git@a..b": "git-url",
    f"x @ git+{HOST}/x.git#subdirectory=../y": "git-url",
    f"x @ git+{HOST}/x.git#egg=other": "invalid-requirement",
    f"x @ git+{HOST}/x.git#sha256={'a' * 64}": "invalid-requirement",
    f"x @ git+{HOST}/x.git --hash={SHA}": "invalid-requirement",
    f"x @ git+{HOST}/x.git#lfs=true": "invalid-requirement",
    "x @ git+https://user:pass1@git.example.com/x.git": "credentials-in-file",
    "x @ git+ssh://user:pass1@git.example.com/x.git": "credentials-in-file",
    "MyProject @ hg+http://hg.myproject.org/MyProject": "vcs-requirement",
    "MyProject @ hg+https://hg.myproject.org/MyProject@2019": "vcs-requirement",
    "MyProject @ hg+ssh://hg.myproject.org/MyProject": "vcs-requirement",
    "MyProject @ hg+file:///home/user/projects/MyProject": "vcs-requirement",
    "MyProject @ hg+static-http://hg.myproject.org/MyProject": "vcs-requirement",
    "MyProject @ svn+https://svn.example.com/MyProject": "vcs-requirement",
    "MyProject @ svn+ssh://user@svn.example.com/MyProject": "vcs-requirement",
    "MyProject @ svn+svn://svn.example.com/MyProject": "vcs-requirement",
    "MyProject @ svn://svn.example.com/MyProject": "vcs-requirement",
    "svn+http://svn.example.com/svn/MyProject/trunk@2019#egg=x": "vcs-requirement",
    "MyProject @ bzr+http://bzr.example.com/MyProject/trunk": "vcs-requirement",
    "MyProject @ bzr+sftp://user@example.com/MyProject/trunk": "vcs-requirement",
    "MyProject @ bzr+ssh://user@example.com/MyProject/trunk": "vcs-requirement",
    "MyProject @ bzr+ftp://user@example.com/MyProject/trunk": "vcs-requirement",
    "MyProject @ bzr+lp:MyProject": "vcs-requirement",
    "bzr+https://bzr.example.com/MyProject/trunk@v1.0": "vcs-requirement",
    "name@gopher:/foo/com": "invalid-requirement",
    "x @ ftp://example.com/x-1.0.zip": "invalid-requirement",
}
"""What is written in a requirements file, and the slug that refuses it."""

GLOBAL_HONOURED = (
    "-i https://i.example/simple", "--index-url https://i.example/simple",
    "--index-url=https://i.example/simple", "--pypi-url https://i.example/simple",
    "--extra-index-url https://e.example/simple", "--no-index", "-c limits.txt", "-climits.txt",
    "--constraint limits.txt", "-r more.txt", "--requirement=more.txt", "-f links",
    "--find-links links", "--find-links https://archives.example/", "--no-binary :all:",
    "--no-binary x,y", "--only-binary=:none:", "--pre", "--pre --no-index",
)  # fmt: skip
GLOBAL_REFUSED = (
    "--prefer-binary", "--require-hashes", "--trusted-host h.example", "--use-feature fast-deps",
    "--all-releases :all:", "--only-final x", "--editable .", "--uploaded-prior-to 2026-01-01",
    "--build-constraint b.txt", "-C k=v", "--config-settings k=v", "--process-dependency-links",
)  # fmt: skip


@pytest.mark.parametrize("line", HONOURED)
def test_a_form_that_is_honoured(bench: Any, line: str) -> None:
    bench.image(requirements=f"first\n{line}\n")
    assert bench.problems() == []
    _, found = bench.collect().requirements
    assert (found.line, str(found.place)) == (HONOURED[line], "requirements.txt:2")
    if "${" in line:
        assert found.access is not None and "${" in found.access.userinfo


@pytest.mark.parametrize("line", REFUSED)
def test_a_form_that_is_refused_by_name(bench: Any, line: str) -> None:
    bench.image(requirements=f"first\n{line}\n")
    found = bench.problems()
    assert [p.slug for p in found] == [REFUSED[line]], found
    assert str(found[0].place) == "requirements.txt:2"
    assert found[0].hint
    assert "pass1" not in str(found)


@pytest.mark.parametrize("line", GLOBAL_HONOURED)
def test_an_option_that_is_honoured(bench: Any, line: str) -> None:
    for name in ("limits.txt", "more.txt"):
        (bench.root / name).write_text("within<3\n")
    (bench.root / "links").mkdir()
    bench.image(requirements=f"first\n{line}\n")
    assert bench.problems() == []
    found = bench.collect()
    empty = type(found.index)()
    nothing = line == "--only-binary=:none:"
    assert nothing or found.index != empty or found.requirements[1].line == "within<3"


@pytest.mark.parametrize("line", GLOBAL_REFUSED)
def test_an_option_that_is_refused_by_name(bench: Any, line: str) -> None:
    bench.image(requirements=f"first\n{line}\n")
    (found,) = bench.problems()
    assert found.slug == "unsupported-option"
    assert line.split()[0].lstrip("-").startswith(("C",)) or line.split()[0] in found.message
    assert found.hint


@pytest.mark.parametrize("line", ["x @ {0}", "git+{0}"])
def test_the_same_forms_stand_in_a_recipe(bench: Any, line: str) -> None:
    bench.image(line.format(f"git+{HOST}/x.git@v1" if "@" in line else f"{HOST}/x.git@v1"))
    assert bench.problems() == []
    assert [r.line for r in bench.collect().requirements] == [f"x @ git+{HOST}/x.git@v1"]


def test_a_file_in_the_encoding_that_it_names(bench: Any) -> None:
    bench.image(requirements="x")
    file = bench.root / "requirements.txt"
    file.write_bytes("# -*- coding: latin-1 -*-\nx  # für\n".encode("latin-1"))
    assert bench.problems() == []
    file.write_bytes("x  # für\n".encode("latin-1"))
    (found,) = bench.problems()
    assert found.slug == "unreadable-file"
    file.write_bytes(b"# coding: nonsense-8\nx\n")
    (found,) = bench.problems()
    assert found.slug == "unreadable-file"
    file.write_bytes("x\n".encode("utf-16"))
    assert [r.line for r in bench.collect().requirements] == ["x"]
