"""`coopery graph`, in every format."""

from __future__ import annotations

import random
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from coopery.testing import Project
from coopery_report import formats
from coopery_report.drawing import svg
from coopery_report.graphs import Graph, Node, of_record
from coopery_report.layout import GAP, HEIGHT, arrange

from .conftest import make_record, make_step

SVG = "{http://www.w3.org/2000/svg}"
HARD = (
    "end",
    "style",
    "click",
    'a@x=%22%20"\\]',
    "fit@s=a:#b;c",
    "`md`",
    "<b>&amp;</b>",
    "style: x:#b",
)
"""Names that mean something to a language; the engine allows fewer."""


def hard_graph() -> Graph:
    nodes = tuple(Node(name=name, states=(("failed", 1),)) for name in HARD)
    return Graph(nodes=nodes, edges=dict.fromkeys(pairwise(HARD), ("o",)))


def graph(project: Project, *arguments: str, code: int = 0) -> str:
    answer = project.coopery("graph", *arguments)
    assert answer.exit_code == code, answer.stderr
    return answer.stderr if code else answer.stdout


def test_text_of_tasks_and_of_instances(failing: Project) -> None:
    assert graph(failing) == "prep\nfit (2) <- prep\nscore <- fit\n"
    assert graph(failing, "--instances", "fit@fold=1") == "prep\nfit@fold=1 <- prep\n"
    assert not failing.home.exists()


def test_json_names_the_outputs_that_are_read(failing: Project) -> None:
    answer = failing.coopery("graph", "--instances", "--json")
    assert {"from": "fit@fold=1", "to": "score", "outputs": ["model"]} in answer.json["edges"]
    assert len(answer.json["edges"]) == 4
    assert "states" not in answer.json


def test_mermaid_and_dot(failing: Project) -> None:
    drawn = graph(failing, "--format", "mermaid").splitlines()
    assert drawn[0] == "flowchart LR"
    assert '    n1["fit (2)"]' in drawn and "    n0 --> n1" in drawn
    drawn = graph(failing, "--format", "dot").splitlines()
    assert '    "prep" -> "fit";' in drawn
    assert any(line.startswith('    "fit" [label="fit (2)"') for line in drawn)


def test_what_is_not_understood(failing: Project) -> None:
    assert "--format: there is no 'svgg'" in graph(failing, "--format", "svgg", code=2)
    assert "did you mean 'svg'" in graph(failing, "--format", "svgg", code=2)
    assert "did you mean 'last'" in graph(failing, "--state", "lats", code=2)
    assert "exclude each other" in graph(failing, "--format", "dot", "--json", code=2)
    assert "did you mean 'fit'" in graph(failing, "fitt", code=2)
    assert "[no-runs]" in graph(failing, "--state", "last", code=2)


def test_states_of_the_last_run_and_of_the_next(failing: Project) -> None:
    assert failing.coopery("run").exit_code == 1
    assert graph(failing, "--state", "last") == (
        "prep  [succeeded]\nfit (2) <- prep  [1 failed, 1 succeeded]\nscore <- fit  [skipped]\n"
    )
    assert graph(failing, "--state", "forecast") == (
        "prep  [cached]\nfit (2) <- prep  [1 run, 1 cached]\nscore <- fit  [depends]\n"
    )
    states = failing.coopery("graph", "--state", "last", "--json").json["states"]
    assert states["fit"] == {"failed": 1, "succeeded": 1}
    drawn = graph(failing, "--state", "last", "--format", "mermaid")
    assert '["fit (2)<br/>1 failed, 1 succeeded"]' in drawn and "class n1 is-failed" in drawn


def test_a_file_is_written_whole(failing: Project) -> None:
    assert graph(failing, "--format", "svg", "-o", "pictures/graph.svg") == ""
    root = ElementTree.fromstring(failing.read("pictures/graph.svg"))
    assert [text.text for text in root.iter(f"{SVG}text")] == ["prep", "fit (2)", "score"]
    assert [path.name for path in (failing.root / "pictures").iterdir()] == ["graph.svg"]
    assert "[not-writable]" in graph(failing, "-o", "recipe.toml/x", code=3)
    assert "[not-writable]" in graph(failing, "-o", ".", code=3)


def test_mermaid_takes_names_as_text() -> None:
    drawn = formats.mermaid(hard_graph())
    assert '"a@x=#37;22#37;20#34;#92;#93;<br/>failed"' in drawn
    labels = [line for line in drawn.splitlines() if "[" in line]
    assert len(labels) == len(HARD)
    assert all(not set(line.partition('"')[2]) & set("`:%") for line in labels)


def test_dot_quotes_every_name(tmp_path: Path) -> None:
    drawn = formats.dot(hard_graph())
    assert '"a@x=%22%20\\"\\\\]" -> ' in drawn
    if not shutil.which("dot"):
        pytest.skip("graphviz is not installed")
    command = ["dot", "-Tsvg"]
    done = subprocess.run(command, input=drawn, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr
    texts = [text.text for text in ElementTree.fromstring(done.stdout).iter(f"{SVG}text")]
    assert set(HARD) <= set(texts)


def test_svg_says_a_state_by_colour_mark_and_word() -> None:
    root = ElementTree.fromstring(svg(hard_graph(), "<hard>"))
    nodes = [g for g in root.iter(f"{SVG}g") if g.get("class") == "node"]
    assert [node.findtext(f"{SVG}title") for node in nodes] == [f"{name}: failed" for name in HARD]
    assert [node.findtext(f"{SVG}text") for node in nodes] == list(HARD)
    for node in nodes:
        kinds = [part.get("class") for part in node]
        assert "s-failed" in kinds and "mark m-failed" in kinds
    (legend,) = (g for g in root.iter(f"{SVG}g") if g.get("class") == "legend")
    assert [text.text for text in legend.iter(f"{SVG}text")] == ["failed"]
    assert "prefers-color-scheme:dark" in root.findtext(f"{SVG}style", "")


def random_edges(count: int, seed: int) -> dict[tuple[str, str], tuple[str, ...]]:
    chance = random.Random(seed)
    return {
        (f"t{chance.randrange(max(0, head - 20), head)}", f"t{head}"): ("o",)
        for head in range(1, count)
        for _ in range(chance.choice((0, 1, 1, 2, 3)))
    }


@pytest.mark.parametrize("seed", range(8))
def test_boxes_do_not_overlap_and_lines_lead_rightwards(seed: int) -> None:
    names = [f"t{number}" for number in range(random.Random(seed).choice((1, 2, 30, 300)))]
    edges = random_edges(len(names), seed)
    layout = arrange(names, edges, {name: 60 + len(name) for name in names})
    assert set(layout.boxes) == set(names) and set(layout.routes) == set(edges)
    by_left: dict[float, list[tuple[float, float]]] = {}
    for left, middle, width in layout.boxes.values():
        assert 0 <= left <= layout.width - width
        assert HEIGHT / 2 - 0.01 <= middle <= layout.height - HEIGHT / 2 + 0.01
        by_left.setdefault(left, []).append((middle, width))
    for column in by_left.values():
        middles = sorted(middle for middle, _ in column)
        assert all(b - a >= HEIGHT + GAP - 0.01 for a, b in pairwise(middles))
    columns = sorted((left, left + max(w for _, w in column)) for left, column in by_left.items())
    joined = {name for edge in edges for name in edge}
    grid = {layout.boxes[name][0] for name in names if name not in joined}
    columns = [column for column in columns if column[0] not in grid]
    assert all(a[1] < b[0] for a, b in pairwise(columns))
    for (tail, head), route in layout.routes.items():
        assert route[0][0] == layout.boxes[tail][0] + layout.boxes[tail][2]
        assert route[-1] == layout.boxes[head][:2]
        assert all(a[0] <= b[0] for a, b in pairwise(route))


def test_lines_are_untangled() -> None:
    """Two ladders given crosswise stand apart, and a diamond with a short cut has no crossing."""
    edges = [("a", "d"), ("b", "c"), ("d", "e"), ("c", "f")]
    boxes = arrange(list("abcdef"), edges, dict.fromkeys("abcdef", 40.0)).boxes
    upper = [name for name in "abcdef" if boxes[name][1] == min(b[1] for b in boxes.values())]
    assert upper in (["a", "d", "e"], ["b", "c", "f"])
    edges = [("a", "b"), ("b", "c"), ("b", "d"), ("c", "e"), ("d", "f"), ("e", "g"), ("f", "g")]
    layout = arrange(
        list("abcdefg"), [*edges, ("a", "e"), ("a", "g")], dict.fromkeys("abcdefg", 40)
    )
    detour = {point[1] for point in layout.routes["a", "g"][3:-1]}
    middles = [layout.boxes[name][1] for name in "cdef"]
    assert max(detour) < min(middles) or min(detour) > max(middles)


def test_instances_become_one_where_there_are_many() -> None:
    steps = [make_step("prep"), make_step("image science", kind="environment")]
    steps += [make_step(f"fit@fold={n}", "prep", "image science") for n in range(70)]
    steps += [make_step("score", *(f"fit@fold={n}" for n in range(70)), state="failed")]
    few = of_record(make_record(steps), 60, {"fit@fold=0": "#s2"})
    assert [node.label for node in few.nodes] == ["prep", "image science", "fit (70)", "score"]
    assert few.nodes[2].link == "#s2" and few.nodes[2].states == (("succeeded", 70),)
    assert len(of_record(make_record(steps), 100, {}).nodes) == 73


def test_ten_thousand_tasks_are_drawn() -> None:
    nodes = tuple(Node(name=f"t{number}") for number in range(10_000))
    drawn = svg(Graph(nodes=nodes, edges=random_edges(10_000, 1)), "many")
    assert drawn.count("<rect ") == 10_001
    assert len(drawn) < 10_000 * 1_000


def test_tasks_that_read_each_other_crosswise_are_drawn() -> None:
    """Instances can do so without a cycle; then an edge leads backwards."""
    steps = [
        make_step("a@x=0"),
        make_step("b@x=0", "a@x=0"),
        make_step("a@x=1", "b@x=0"),
    ]
    found = of_record(make_record(steps), 1, {})
    assert set(found.edges) == {("a", "b"), ("b", "a")}
    assert svg(found, "crosswise").count('class="edge"') >= 2
    assert formats.text(found) == "a (2) <- b  [2 succeeded]\nb <- a  [succeeded]"


def test_what_would_never_fit_is_drawn(project: Project) -> None:
    project.write("recipe.toml", "[task.a]\ncommand = 'true'\nresources.license = 1\n")
    assert "a" in graph(project, "--state", "forecast")
