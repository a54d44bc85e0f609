"""Which paths a regular expression matches as a whole, within a time.

Who made an image writes the expressions of its scale rules, and of some a match takes longer than
anybody lives: nothing in this process could stop it. So all but the plainest are matched in a
process of its own, which the kernel ends.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Collection, Sequence

from coopery.errors import RecipeError, problem

PATIENCE = 10
"""Seconds of a processor that the matching of one rule may take."""
_MEMORY = 2 << 30
"""Bytes that it may take, with those of the paths."""
_PLAIN = re.compile(r"(?:\.[*+](?![*+?{])|\\[.\-_/+]|[\w\-/ ]|\.(?![*+?{]))*", re.ASCII)
"""Expressions that are matched at once: letters, dots, and `.*`, of which there is one."""
_NEEDED = ("LD_LIBRARY_PATH",)
"""What a Python may need of the environment to start."""
_PROGRAM = """
import re, resource, sys
seconds, memory = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
regex, *paths = sys.stdin.buffer.read().decode("utf-32-le", "surrogatepass").split(chr(0))
match = re.compile(regex, re.DOTALL).fullmatch
sys.stdout.write("".join("1" if match(path) else "0" for path in paths))
"""


def matching(regex: str, paths: Sequence[str]) -> Collection[str]:
    """Those of the paths that are matched as a whole.

    Raises RecipeError (`slow-regex`) where that takes longer than `PATIENCE`, or much memory.
    """
    if not paths:
        return frozenset()
    if is_plain(regex):
        match = re.compile(regex, re.DOTALL).fullmatch
        return {path for path in paths if match(path)}
    told = "\0".join((regex, *paths)).encode("utf-32-le", "surrogatepass")
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(PATIENCE), str(_MEMORY + len(told))]
    # It ends by itself, also where this process is killed.
    needed = {name: os.environ[name] for name in _NEEDED if name in os.environ}
    ended = subprocess.run(
        command,
        input=told,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=needed,
        check=False,
    )
    if ended.returncode or len(ended.stdout) != len(paths):
        message = (
            f"{regex[:80]!r} cannot be matched with {len(paths)} paths: it takes more than "
            f"{PATIENCE} s, or too much memory"
        )
        hint = "write `target_regex` without a repetition within a repetition, such as (a+)+"
        raise RecipeError(problem("slow-regex", message, hint=hint))
    return {path for path, said in zip(paths, ended.stdout, strict=True) if said == ord("1")}


def is_plain(regex: str) -> bool:
    """Whether matching takes no longer than reading the path a few times, whatever that is."""
    repeated = len(re.findall(r"\.[*+]", regex))
    return repeated <= 1 and _PLAIN.fullmatch(regex) is not None
