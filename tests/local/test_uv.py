"""Where uv is, asked by many threads at once."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
from coopery.indexes import uv_binary
import uv
sys.setswitchinterval(1e-6)
start = threading.Barrier(16)
found = []
def look():
    start.wait()
    found.append(uv_binary())
threads = [threading.Thread(target=look) for _ in range(16)]
[t.start() for t in threads]
[t.join() for t in threads]
assert len(found) == 16 and len(set(found)) == 1, found
"""


def test_threads_find_uv_at_once() -> None:
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
