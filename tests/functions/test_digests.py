"""The digest of a function: equal where nothing changed, different where its result may be."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import coopery_functions
import coopery_python
from coopery.model import Instance, Recipe
from coopery.plugins import Plugins
from coopery.recipes import read
from coopery_functions.payload import Unsendable, by_value
from coopery_functions.reach import reach_of

PRELUDE = "from coopery.authoring import *\n"


def write(folder: Path, text: str, **helpers: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in helpers.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(content))
    (folder / "recipe.py").write_text(PRELUDE + textwrap.dedent(text))
    return folder / "recipe.py"


def digest_of(file: Path, name: str = "f") -> str:
    document = coopery_python.load_recipe(file)
    assert document is not None
    recipe = Recipe(file=file, root=file.parent, images={}, tasks={})
    function = document.data["task"][name]["function"]
    return by_value(function, reach_of(recipe, None))[0]


RICH = '''
import collections, dataclasses, enum, functools, logging, math, re, typing
import helper
from helper import shout
from random import randint
from pathlib import Path

NAMES = {"b", "a", "c", "longer"}
TABLE = {"x": shout, "y": [1, 2.5, None, True, b"z", 3j], "deep": frozenset({("p", 1), ("q", 2)})}
PATTERN = re.compile("a+")
LOG = logging.getLogger("rich")
Point = collections.namedtuple("Point", "x y", defaults=[0])

class Pair(typing.NamedTuple):
    one: int
    two: str = "x"

class Colour(enum.Enum):
    RED = 1
    BLUE = 2
    def shown(self):
        return self.name.lower()

class Odd(enum.Flag):
    A = 1
    B = 2

@dataclasses.dataclass(frozen=True)
class Settings:
    depth: int = 3
    tags: list = dataclasses.field(default_factory=list)
    def twice(self):
        return self.depth * 2

class Base:
    __slots__ = ("a",)
    @staticmethod
    def one(): return 1
    @classmethod
    def two(cls): return cls
    @property
    def three(self): return super().__repr__()

class Child(Base):
    @functools.cached_property
    def four(self): return Child

@functools.lru_cache(maxsize=5)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)

def counted(step):
    total = 0
    def add(n):
        nonlocal total
        total += n * step
        return total
    return add
adder = counted(3)
halves = functools.partial(math.pow, 2)

@task(outputs={"out": {}})
def g(out: Path, n: int = 3):
    return n

@task(outputs={"out": {}})
def f(out: Path, seed: int = 0, colour=Colour.RED):
    """Say something."""
    class Local:
        """Inside."""
        x = 1
    try:
        with out.open("w") as file:
            print(sorted(NAMES), TABLE, PATTERN, Colour.BLUE.shown(), Settings(), file=file)
            print([x for x in NAMES if x in {"a", "b", "c", "dd"}], fib(20), even(10), file=file)
            print(helper.clean("x"), adder(1), halves(3), Child().three, Point(1), file=file)
            print(Pair(2), g(None), Odd.A | Odd.B, Local.x, Child().four, file=file)
            print(randint(0, 1) < 2, file=file)
    except OSError as error:
        LOG.warning("no", exc_info=error)
        raise
'''
HELPER = """
SUFFIX = "!"
def shout(text):
    return text.upper() + SUFFIX
def clean(text):
    return text.strip()
def unused():
    return 1
"""
ASK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_digests
print(test_digests.digest_of(Path(sys.argv[2])))
"""


def test_equal_in_every_process_folder_home_and_layout(tmp_path: Path) -> None:
    moved = "# a comment\n\n\n" + RICH.replace("def f(", "\ndef f(").replace("Say some", "Tell any")
    plain = write(tmp_path / "one", RICH, helper=HELPER)
    other = write(tmp_path / "two" / "deeper", moved, helper="\n# more\n" + HELPER)
    found = {digest_of(plain), digest_of(other)}
    for seed, file in (("0", plain), ("1", other), ("77", plain)):
        env = {**os.environ, "PYTHONHASHSEED": seed, "HOME": str(tmp_path / f"home{seed}")}
        asked = [sys.executable, "-c", ASK, str(Path(__file__).parent), str(file)]
        done = subprocess.run(asked, env=env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.add(done.stdout.strip())
    assert len(found) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("raise\n", "pass\n"),
        ("seed: int = 0", "seed: int = 1"),
        ("colour=Colour.RED", "colour=Colour.BLUE"),
        ("BLUE = 2", "BLUE = 3"),
        ("counted(3)", "counted(4)"),
        ("total = 0", "total = 1"),
        ("n != 0 and", "n != 1 and"),
        ('"longer"', '"longest"'),
        ("None, True", "None, 1"),
        ("depth: int = 3", "depth: int = 4"),
        ("self.depth * 2", "self.depth * 3"),
        ("def one(): return 1", "def one(): return 2"),
        ("class Child(Base)", "class Child(Base, object)"),
        ("maxsize=5", "maxsize=6"),
        ("math.pow, 2", "math.pow, 3"),
        ('"a+"', '"b+"'),
        ("n: int = 3", "n: int = 4"),
        ('two: str = "x"', 'two: str = "y"'),
        ("except OSError", "except ValueError"),
        ("n < 2 else", "n < 3 else"),
    ],
)
def test_differs_where_the_recipe_changed(tmp_path: Path, old: str, new: str) -> None:
    assert RICH.count(old) == 1
    before = digest_of(write(tmp_path, RICH, helper=HELPER))
    changed = RICH.replace(old, new)
    assert digest_of(write(tmp_path, changed, helper=HELPER)) != before


def test_helpers_count_as_far_as_they_are_used(tmp_path: Path) -> None:
    before = digest_of(write(tmp_path, RICH, helper=HELPER))
    for old, new, differs in (
        ('"!"', '"?"', True),
        ("text.strip()", "text.lstrip()", True),
        ("return 1", "return 2", False),
    ):
        after = digest_of(write(tmp_path, RICH, helper=HELPER.replace(old, new)))
        assert (after != before) is differs


def test_calling_the_function_does_not_change_its_digest(tmp_path: Path) -> None:
    text = "@task\ndef f(n: int = 1):\n    return sum(i * n for i in range(9)) + n\n"
    warm = text + "for _ in range(5000): f(3)\n"
    assert digest_of(write(tmp_path / "a", text)) == digest_of(write(tmp_path / "b", warm))


@pytest.mark.parametrize(
    ("text", "slug", "part"),
    [
        (
            "import threading\nlock = threading.Lock()\n@task\ndef f():\n  lock",
            "no-canonical-form",
            "lock",
        ),
        (
            "log = open(__file__)\n@task\ndef f():\n  log.read()",
            "no-canonical-form",
            "variable log",
        ),
        (
            "import pathlib\nHERE = pathlib.Path(__file__).parent\n@task\ndef f():\n  HERE",
            "project-path",
            "HERE",
        ),
        ("@task\ndef f():\n  __file__", "project-path", "__file__"),
        ("@task\ndef f():\n  import helper", "import-inside", "helper"),
        ("big = b'x' * 11_000_000\n@task\ndef f():\n  big", "function-too-large", "bytes"),
    ],
)
def test_what_cannot_travel_is_refused_by_name(
    tmp_path: Path, text: str, slug: str, part: str
) -> None:
    with pytest.raises(Unsendable) as caught:
        digest_of(write(tmp_path, text, helper=HELPER))
    assert caught.value.slug == slug
    assert part in str(caught.value)
    assert "function f" in str(caught.value)


def test_all_of_it_runs_without_anything_installed(
    tmp_path: Path, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    file = write(tmp_path / "project", RICH, helper=HELPER)
    plugins = Plugins([("python", coopery_python), ("functions", coopery_functions)])
    recipe = read(file, plugins)
    assert plugins.check(recipe, "local") == []
    invocation = plugins.plan_task(recipe, Instance(task=recipe.tasks["f"]))
    out = tmp_path / "out.txt"
    done = run(invocation, COOPERY_OUTPUT_OUT=out)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    lines = out.read_text().splitlines()
    assert lines[0].startswith("['a', 'b', 'c', 'longer']")
    assert lines[1].endswith("6765 True")
    assert lines[2].startswith("x 3 8.0")
