"""Nothing that a recipe says breaks out of its instruction, or is filled in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coopery.errors import RecipeError
from coopery_images import quoting
from coopery_images.dockerfile import dockerfile_of

from . import dockerfiles
from .conftest import Bench, Engine

NASTY = (
    "$PATH", "${PATH}", "${PATH:-x}", "$(id)", "`id`", "\\", "\\\\", "\\$PATH", '"', "'", '\\"',
    "x\\", "#", "# syntax=docker/dockerfile:1", "ONBUILD RUN id", "<<EOF", "<<-EOF", "3<<EOF",
    'a" b="c', "a' b='c", "a b", " a", "a ", "\t", "\v\f", "=", "a=b", "[", "]", '["a"]', "%s",
    "é ∑ 🐍", "\x85", "\u2028", "\xa0", "--mount=type=secret", "&& id", "; id", "*", "?", "",
)  # fmt: skip
LINES = ("a\nRUN id", "a\\\nRUN id", "a\r\nUSER 0", "\n", "EOF\n")

texts = st.lists(
    st.sampled_from(NASTY) | st.text(st.characters(exclude_characters="\0\n\r", codec="utf-8")),
    max_size=4,
).map("".join)


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), texts))
@example({"PATH": "\\"})
def test_variables_arrive_as_they_are(variables: dict[str, str]) -> None:
    lines = ["FROM a", *(quoting.env({n: v}).line(buildkit=True) for n, v in variables.items())]
    image = dockerfiles.read("\n".join(lines), {"PATH": "filled-in"})
    assert {**image.env, **variables} == image.env
    assert len(image.instructions) == 1 + len(variables)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z.]{0,8}[a-z]", fullmatch=True), texts, min_size=1))
def test_labels_arrive_as_they_are(labels: dict[str, str]) -> None:
    text = f"FROM a\n{quoting.label(labels).line(buildkit=False)}\n"
    assert dockerfiles.read(text, {"PATH": "filled-in"}).labels == labels


commands = st.lists(texts | st.sampled_from(LINES), min_size=1, max_size=5)


@given(commands, st.booleans())
def test_commands_arrive_as_they_are(command: list[str], buildkit: bool) -> None:
    said = [quoting.run(command, ["/var/cache/apt"]), quoting.entry_point(command)]
    text = "\n".join(["FROM a", *(x.line(buildkit=buildkit) for x in said)])
    found = dockerfiles.read(text, {"PATH": "filled-in"}).instructions
    assert found == [("FROM", "a"), ("RUN", command), ("ENTRYPOINT", command)]


@pytest.mark.parametrize("text", [*LINES, "a\0", "\ud800"])
def test_what_no_line_can_hold_is_refused(text: str) -> None:
    with pytest.raises(quoting.Unquotable):
        quoting.env({"A": text})
    with pytest.raises(quoting.Unquotable):
        quoting.label({"a": text})


@pytest.mark.parametrize("text", [*NASTY, *LINES])
def test_names_and_paths_are_plain(text: str) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: quoting.env({text: "a"}),
        lambda: quoting.label({text: "a"}),
        lambda: quoting.user(text),
        lambda: quoting.copy(f"{text} x", "/"),
        lambda: quoting.copy("x", f"/{text} y"),
        lambda: quoting.working_folder(f"/{text} y"),
        lambda: quoting.path_begins(f"/{text} y"),
        lambda: quoting.run(["a"], [f"/{text} y"]),
    ]
    for make in attempts:
        with pytest.raises(quoting.Unquotable):
            make()


def test_a_line_is_no_longer_than_builders_read() -> None:
    with pytest.raises(quoting.Unquotable, match="longer"):
        quoting.env({"A": "x" * 66_000})
    with pytest.raises(quoting.Unquotable, match="longer"):
        quoting.run(["x" * 66_000])


@pytest.mark.parametrize(("name", "value"), [("A", "one\ntwo"), ("A B", "x"), ("", "x")])
def test_a_variable_that_cannot_be_told_so_is_named(bench: Bench, name: str, value: str) -> None:
    with pytest.raises(RecipeError) as caught:
        bench.blueprint(recipe=bench.recipe(env={name: value}))
    [problem] = caught.value.problems
    assert problem.slug == "not-quotable"
    assert problem.place.key == ("image", "science", "env", name)


@pytest.mark.parametrize("buildkit", [False, True], ids=["classic", "buildkit"])
def test_a_real_builder_reads_them_so_too(bench: Bench, engine: Engine, buildkit: bool) -> None:
    """All of it in one image: the engine tells what it took."""
    variables = {f"V{number}": text for number, text in enumerate(NASTY)}
    labels = {f"l.{number}": text for number, text in enumerate(NASTY)}
    command = [*NASTY, *LINES]
    blueprint = bench.blueprint(recipe=bench.recipe(env=variables))
    blueprint = replace(blueprint, labels=labels)
    bench.make(blueprint)
    shell = quoting.run(["/bin/sh", "-c", 'printf "%s\\0" "$@" > /work/told', "sh", *command])
    text = dockerfile_of(blueprint, [quoting.user("0:0"), shell, quoting.entry_point(command)])
    parsed = dockerfiles.read(text, {"PATH": "/usr/bin"})
    image = engine.build(text, list(bench.entries(blueprint)), buildkit=buildkit)

    config = engine.config(image)
    env = dict(item.split("=", 1) for item in config["Env"])
    assert {name: env[name] for name in variables} == variables
    assert {name: config["Labels"][name] for name in labels} == labels
    assert config["Entrypoint"] == command
    assert config.get("OnBuild") in (None, [])
    told = engine.run(image, "-c", "cat /work/told", entrypoint="/bin/sh")
    assert told.split("\0")[:-1] == command
    # And the tests' own reader sees what the builder saw.
    assert {name: parsed.env[name] for name in variables} == variables
    assert parsed.labels == labels
