"""What a base image says of itself is believed only as far as it can be."""

from __future__ import annotations

import pytest

from coopery_docker.bases import _understand

GOOD = '{"python": "3.11.2", "executable": "/usr/bin/python3", "libc": "glibc 2.36"}'


def test_what_a_python_tells() -> None:
    found = {"python": "3.11.2", "executable": "/usr/bin/python3", "libc": "glibc 2.36"}
    assert _understand(f"{GOOD}\nlibc\nglibc 2.36\n") == found
    assert _understand(GOOD.replace("glibc 2.36", "") + "\nlibc\nmusl libc\nVersion 1.2.4\n") == {
        **found,
        "libc": "musl 1.2",
    }


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "{" * 100_000,
        '{"a":' * 100_000,
        "{}",
        '{"python": 3}',
        '{"python": "3.11.2"}',
        GOOD.replace("3.11.2", "3.11/../../x.2"),
        GOOD.replace("3.11.2", "2.7.18"),
        GOOD.replace('"/usr/bin/python3"', "null"),
        GOOD.replace("/usr/bin/python3", "/usr\\n/bin"),
        GOOD.replace("/usr/bin/python3", "bin/python3"),
        GOOD.replace("glibc 2.36", "\\u001b[2J"),
    ],
)
def test_what_is_no_answer_is_none(line: str) -> None:
    assert _understand(f"{line}\nlibc\nglibc 2.36\n") == {"libc": "glibc 2.36"}
