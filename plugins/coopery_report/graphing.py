"""`graph`: which task, or which instance, reads from which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from coopery.commands import Context
from coopery.errors import Problem, RecipeError
from coopery.opening import Opened, Request, open_recipe
from coopery_report.graphs import Graph, of_recipe

if TYPE_CHECKING:
    from collections.abc import Callable


def run(context: Context) -> int:
    """Draw the graph of the targets and all that they need."""
    arguments = context.arguments
    if arguments.json and arguments.format:
        message = "--format and --json exclude each other"
        raise RecipeError(Problem(slug="bad-command-line", message=message, hint="drop one"))
    request = Request(file=arguments.file, targets=tuple(arguments.targets))
    opened = open_recipe(request, context.plugins, context.settings)
    states = _states(context, opened, request)
    graph = of_recipe(opened, request.targets, instances=arguments.instances, states=states)
    if arguments.json:
        import json

        text = json.dumps(_document(opened, graph, states is not None), indent=2)
    else:
        text = _draw(arguments.format or "text")(graph, opened)
    if arguments.output is None:
        print(text)
    else:
        from coopery.asked_files import write

        write(arguments.output, f"{text}\n", "--output")
    return 0


def _draw(name: str) -> Callable[[Graph, Opened], str]:
    from coopery_report import formats

    match name:
        case "svg":
            from coopery_report.drawing import svg

            return lambda graph, opened: svg(graph, f"The graph of {opened.recipe.file.name}")
        case "mermaid":
            return lambda graph, _: formats.mermaid(graph)
        case "dot":
            return lambda graph, _: formats.dot(graph)
        case _:
            return lambda graph, _: formats.text(graph)


def _states(context: Context, opened: Opened, request: Request) -> Mapping[str, str] | None:
    """Words by instance: how the latest run left it, or what a run would do with it."""
    from coopery import session

    match context.arguments.state:
        case "last":
            from coopery.history import latest_run
            from coopery.records import read_run
            from coopery_report.looks import state_of

            with session.open_store(context.plugins, context.settings) as store:
                record = read_run(store, latest_run(store, opened.recipe.file))
            return {step["step"]: state_of(step) for step in record["steps"]}
        case "forecast":
            # What a run would be refused for is no reason to draw nothing.
            _, forecasts = session.preview(
                request, context.plugins, context.settings, refusing=False
            )
            return {forecast.step: forecast.verdict for forecast in forecasts}
        case _:
            return None


def _document(opened: Opened, graph: Graph, with_states: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "recipe": str(opened.recipe.file),
        "nodes": [node.name for node in graph.nodes],
        "edges": [
            {"from": tail, "to": head, "outputs": list(outputs)}
            for (tail, head), outputs in graph.edges.items()
        ],
    }
    if with_states:
        document["states"] = {node.name: dict(node.states) for node in graph.nodes if node.states}
    return document
