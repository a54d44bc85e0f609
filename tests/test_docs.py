"""The docs: links lead somewhere, errors are explained, examples do what the pages say."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from coopery.testing import call, make_project

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for page in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("recipes/*/README.md"),
    )
    if "decisions" not in page.parts
)
PLUGINS_PAGE = ROOT / "docs" / "how-to" / "write-a-plugin.md"
"""Run with its plugins installed, by a test of its own."""
RUN = [
    page
    for page in PAGES
    if page.parent.name in ("tutorial", "how-to", "reference", "explanation")
    and page != PLUGINS_PAGE
]
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the rest of its first line, its text and line number."""

    language: str
    info: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    lines = page.read_text("utf-8").splitlines()
    opened: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = number
        else:
            language, _, info = lines[opened][3:].partition(" ")
            text = "\n".join(lines[opened + 1 : number]) + "\n"
            yield Block(language, info.strip(), text, opened + 1)
            opened = None
    assert opened is None, f"{page}:{opened}: a block without end"


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower().replace("`", "")).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page_id(page)} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page_id(page)} links to {target}"


def test_every_page_is_reached_from_the_index() -> None:
    seen: set[Path] = set()
    stack = [ROOT / "docs" / "index.md"]
    while stack:
        page = stack.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = re.findall(r"\]\(([^)\s#]+)", prose(page))
        stack += [(page.parent / target).resolve() for target in targets if "://" not in target]
    missing = {page for page in PAGES if "docs" in page.parts} - seen
    assert not missing


def texts_in(node: ast.expr) -> Iterator[str]:
    """The strings in an expression, such as both of `"a" if x else "b"`."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def is_message(node: ast.expr) -> bool:
    """Whether an argument can be what is said beside a slug."""
    if isinstance(node, ast.Name):
        return node.id in ("message", "text")
    return isinstance(node, ast.JoinedStr) or any(" " in text for text in texts_in(node))


def slugs_in(file: Path) -> Iterator[str]:
    """The slugs of the problems that a module makes: named so, or first beside a message."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id="problem"), args=[ast.Constant(value=str(slug)), *_]):
                yield slug
            case ast.Call(args=[ast.Constant(value=str(slug)), *rest]):
                if SLUG.fullmatch(slug) and any(is_message(part) for part in rest):
                    yield slug
            case ast.keyword(arg="slug", value=value):
                yield from texts_in(value)
            case ast.Assign(targets=[ast.Name(id="slug")], value=value):
                yield from (text for text in texts_in(value) if SLUG.fullmatch(text))
            case ast.AnnAssign(target=ast.Name(id="slug"), value=ast.expr() as value):
                yield from texts_in(value)
            case ast.arguments():
                named = [*node.posonlyargs, *node.args][-len(node.defaults) or None :]
                for argument, default in zip(named, node.defaults, strict=False):
                    if argument.arg == "slug":
                        yield from texts_in(default)


@functools.cache
def slugs() -> dict[str, Path]:
    """Every slug in the code, with a file that has it."""
    found: dict[str, Path] = {}
    for file in (*ROOT.glob("engine/**/*.py"), *ROOT.glob("plugins/**/*.py")):
        found.update(dict.fromkeys(slugs_in(file), file))
    return found


def explained() -> set[str]:
    """The slugs that errors.md explains."""
    text = (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    return set(re.findall(r"^### `?([a-z0-9-]+)`?$", text, flags=re.MULTILINE)) | set(
        re.findall(r"^\| `([a-z0-9-]+)` \|", text, flags=re.MULTILINE)
    )


def test_slugs_are_found_in_the_code() -> None:
    expected = {"cycle", "unknown-task", "machine-error", "broken-plugin", "function-too-large"}
    assert expected <= set(slugs())
    assert len(slugs()) > 60


def test_every_error_is_explained() -> None:
    missing = {slug: str(file) for slug, file in slugs().items() if slug not in explained()}
    assert not missing, f"explain in docs/reference/errors.md: {sorted(missing)}"


def test_no_error_is_explained_that_does_not_exist() -> None:
    code = "\n".join(
        file.read_text("utf-8")
        for file in (*ROOT.glob("engine/**/*.py"), *ROOT.glob("plugins/**/*.py"))
    )
    gone = [slug for slug in explained() if f'"{slug}"' not in code]
    assert not gone


def generator() -> ModuleType:
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_reference_is_up_to_date() -> None:
    module = generator()
    stale = [str(file) for file in module.outdated(module.builtin_plugins())]
    assert not stale, "run: nox -s docs -- --write"


def test_schema_accepts_the_example_recipes_and_refuses_a_typo() -> None:
    import tomllib

    import jsonschema

    schema = json.loads((ROOT / "docs" / "reference" / "recipe.schema.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    for file in ROOT.glob("recipes/*/recipe.toml"):
        recipe: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
        assert not list(validator.iter_errors(recipe)), file
        next(iter(recipe["task"].values()))["comand"] = ["true"]
        assert list(validator.iter_errors(recipe))


def test_recipe_reference_names_every_key() -> None:
    schema = json.loads((ROOT / "docs" / "reference" / "recipe.schema.json").read_text("utf-8"))
    text = (ROOT / "docs" / "reference" / "recipe.md").read_text("utf-8")
    for noun in ("image", "task"):
        keys = schema["properties"][noun]["additionalProperties"]["properties"]
        for key in keys:
            assert re.search(rf"^\| `{key}`", text, flags=re.MULTILINE), f"{noun}: {key}"


def matches(expected: str, found: str) -> bool:
    """Whether an output is as a page says.

    `…` stands for anything on its line; alone on a line, for any number of lines.
    """
    pattern = ""
    for line in expected.rstrip("\n").split("\n"):
        text = ".*".join(re.escape(part) for part in line.split("…"))
        pattern += "(?:.*\n)*?" if line == "…" else f"{text}\n"
    return re.fullmatch(pattern, found.rstrip("\n") + "\n") is not None


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output that follows it."""
    command, output = "", list[str]()
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, "\n".join(output)
            command, output = line[2:], []
        else:
            output.append(line)
    if command:
        yield command, "\n".join(output)


def try_blocks(page: Path, folder: Path, home: Path, shown: Path | None = None) -> None:
    """Do what a page says, in order: see `test_examples_do_what_the_page_says`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {k: v for k, v in os.environ.items() if not k.startswith("COOPERY_")}
    env |= {"PATH": path, "COOPERY_HOME": str(home), "COOPERY_JOBS": "2"}
    for block in blocks(page):
        if block.language != "console":
            if block.info:
                file = folder / block.info
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text, "utf-8")
            continue
        if block.info == "not-run":
            continue
        code = int(block.info.removeprefix("exit=")) if block.info else 0
        for command, expected in commands(block):
            if command.startswith("cd "):
                folder /= command.removeprefix("cd ")
                continue
            found, told = type_in(command, folder, env)
            where = f"{page_id(shown or page)}:{block.line}: {command}\n{told}"
            assert found == code, where
            if expected:
                assert matches(expected, told), where


def type_in(command: str, folder: Path, env: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of a command line; coopery is called without a shell where it can be."""
    words = shlex.split(command)
    if words[0] == "coopery" and not set(command) & set("|&;<>()$`\\*?[#~!{"):
        answer = call(*words[1:], cwd=folder, env=env, together=True)
        return answer.exit_code, answer.stdout
    ended = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


@pytest.mark.parametrize("page", RUN, ids=page_id)
def test_examples_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    """In order: a block whose first line names a file writes it, a console block is run.

    `console exit=N` expects that exit code. A block `console not-run` is left alone.
    """
    (tmp_path / "project").mkdir()
    try_blocks(page, tmp_path / "project", tmp_path / "home")


def test_a_wrong_output_is_noticed() -> None:
    assert matches("a … c\n", "a b c\n")
    assert matches("a\n…\nd", "a\nb\nc\nd\n")
    assert not matches("a … c\n", "a b d\n")
    assert not matches("a\n", "a\nb\n")


def test_plugins_of_the_docs_do_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each plugin installed when the page comes to it, as an installer would leave it."""
    import tomllib

    project = make_project(tmp_path)
    found = {block.info: block.text for block in blocks(PLUGINS_PAGE) if block.info}
    names = [info.partition("/")[0] for info in found if is_plugin(info)]
    assert len(names) > 10
    for name in names:
        if name != "broken":  # the page's own example of one that is
            project.plugin(name, found[f"{name}/{name}.py"])
    toml = tomllib.loads(found["motd/pyproject.toml"])
    assert toml["project"]["entry-points"]["coopery"] == {"motd": "motd"}
    monkeypatch.setenv("PYTHONPATH", str(project.site))
    before, _, after = PLUGINS_PAGE.read_text("utf-8").partition("## When a plugin fails")
    for number, text in enumerate((before, after)):
        page = tmp_path / f"{number}.md"
        page.write_text(text, "utf-8")
        try_blocks(page, project.root, project.home, PLUGINS_PAGE)
        if not number:
            project.plugin("broken", found["broken/broken.py"])


def is_plugin(info: str) -> bool:
    """Whether a block is the module of a plugin: `name/name.py`."""
    folder, _, file = info.partition("/")
    return file == f"{folder}.py"


def test_findings_and_requirements_of_the_docs(tmp_path: Path) -> None:
    from coopery.model import Image, Recipe
    from coopery.options import LockPolicy, Settings
    from coopery.plugins import Plugins

    found = {block.info: block.text for block in blocks(PLUGINS_PAGE) if block.info}
    modules = {name: ModuleType(name) for name in ("git_there", "limits")}
    for name, module in modules.items():
        exec(compile(found[f"{name}/{name}.py"], name, "exec"), module.__dict__)
    plugins = Plugins(modules.items())
    (finding,) = plugins.diagnose(tmp_path, Settings(values={}), mend=False)
    assert finding.subject == "git" and finding.state == (
        "ok" if shutil.which("git") else "warning"
    )
    recipe = Recipe(file=tmp_path / "r.toml", root=tmp_path, images={}, tasks={})
    (limits,) = plugins.collect_requirements(recipe, Image(name="i"), tmp_path, LockPolicy.MEND)
    assert [line.line for line in limits.requirements] == ["numpy<3"]


README = ROOT / "README.md"
FIRST = (
    "python3 -m venv .venv && .venv/bin/pip install . && "
    ".venv/bin/coopery run -f recipes/penguins/recipe.toml"
)
SECOND = "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox"


def test_readme_has_the_two_commands_and_ci_calls_the_second() -> None:
    text = README.read_text("utf-8")
    assert f"```sh\n{FIRST}\n```" in text
    assert f"```sh\n{SECOND}\n```" in text
    assert f"\n{SECOND} ||" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_readme_quotes_the_recipe_as_it_is() -> None:
    recipe = (ROOT / "recipes" / "penguins" / "recipe.toml").read_text("utf-8")
    quoted = [block.text for block in blocks(README) if block.language == "toml"]
    assert quoted
    for text in quoted:
        assert text in recipe


def test_readme_tour_says_what_happens(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("build", "__pycache__")
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes", ignore=ignored)
    try_blocks(README, tmp_path, tmp_path / "home")
