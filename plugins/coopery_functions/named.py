"""A function that a recipe names as text: looked up in the sources, which are read and not run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from inspect import Parameter
from pathlib import Path

from coopery.errors import KeyPath, Problem, nearest, problem
from coopery.model import Task
from coopery_functions.checks import check_parameters
from coopery_functions.reach import Reach

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def check_named(target: str, task: Task, reach: Reach) -> Iterator[Problem]:
    """`module:name` of one of the image's projects is there, and fits the task.

    What is made while a module is imported cannot be seen: of that nothing is said.
    """
    key: KeyPath = ("task", task.name, "function")
    module, _, qualname = target.partition(":")
    file = next((f for root in reach.projects if (f := _module(root, module))), None)
    if file is None:
        yield from _missing_module(module, key, reach)
        return
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        message = f"{file} cannot be read: {error}"
        yield problem("function-target", message, key=key, hint="mend it: the task imports it")
        return
    found = _find(tree.body, qualname.split("."))
    if isinstance(found, Problem):
        yield problem(found.slug, f"{module}: {found.message}", key=key, hint=found.hint)
    elif isinstance(found, ast.FunctionDef) and not found.decorator_list:
        yield from check_parameters(qualname, _parameters(found.args), task)


def _module(root: str, name: str) -> Path | None:
    """The file of a module of a project, in `src` where there is that."""
    source = Path(root, "src")
    path = (source if source.is_dir() else Path(root)).joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return file
    return None


def _missing_module(module: str, key: KeyPath, reach: Reach) -> Iterator[Problem]:
    """A module of a package that is one of the projects', and that this one lacks."""
    top, dot, _ = module.partition(".")
    package = next((f for root in reach.projects if (f := _module(root, top))), None)
    if not dot or package is None or package.name != "__init__.py":
        return  # it may come from a requirement, or from the sources
    folder = package.parent
    if "__path__" in package.read_text("utf-8", "replace"):
        return  # its modules may be anywhere
    names = [".".join(f.relative_to(folder.parent).with_suffix("").parts) for f in _files(folder)]
    names = [name.removesuffix(".__init__") for name in names]
    message = f"the package {top!r} of the image's projects has no module {module!r}"
    yield problem("function-target", message, key=key, hint=nearest(module, names))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))[:1000]


def _find(body: list[ast.stmt], names: list[str]) -> Definition | Problem | None:
    """The definition of this name; None where it may be made in another way."""
    name, rest = names[0], names[1:]
    defined = {
        node.name: node
        for node in body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    found = defined.get(name)
    if found is None:
        if _dynamic(body, name):
            return None
        hint = nearest(name, defined) or "the module defines nothing"
        return problem("function-target", f"there is no {name!r}", hint=hint)
    if not rest:
        return found
    return _find(found.body, rest) if isinstance(found, ast.ClassDef) else None


def _dynamic(body: list[ast.stmt], name: str) -> bool:
    """Whether a module's or class's code could bring a name otherwise than by a definition."""
    for node in body:
        match node:
            case ast.FunctionDef(name="__getattr__"):
                return True
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                if any((a.asname or a.name) in (name, "*") for a in aliases):
                    return True
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                continue
            case _ if _names(node, name):
                # An assignment, a branch, a call: the name may be bound in it.
                return True
    return False


def _names(node: ast.stmt, name: str) -> bool:
    """Whether a statement binds the name, or does what might: globals(), setattr, exec."""
    for inner in ast.walk(node):
        match inner:
            case ast.Name(id=found) if found in (name, "globals", "setattr", "exec", "vars"):
                return True
            case ast.alias(name=found, asname=other) if (other or found) in (name, "*"):
                return True
            case ast.FunctionDef(name=found) | ast.ClassDef(name=found) if found == name:
                return True
    return False


def _parameters(arguments: ast.arguments) -> dict[str, Parameter]:
    """What `inspect.signature` would tell, defaults without their values."""
    found: dict[str, Parameter] = {}

    def add(item: ast.arg, kind: object, optional: bool) -> None:
        default = None if optional else Parameter.empty
        found[item.arg] = Parameter(item.arg, kind, default=default)  # type: ignore[arg-type]

    positional = [*arguments.posonlyargs, *arguments.args]
    first_default = len(positional) - len(arguments.defaults)
    for index, item in enumerate(positional):
        only = index < len(arguments.posonlyargs)
        kind = Parameter.POSITIONAL_ONLY if only else Parameter.POSITIONAL_OR_KEYWORD
        add(item, kind, index >= first_default)
    if arguments.vararg:
        found[arguments.vararg.arg] = Parameter(arguments.vararg.arg, Parameter.VAR_POSITIONAL)
    for item, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        add(item, Parameter.KEYWORD_ONLY, default is not None)
    if arguments.kwarg:
        found[arguments.kwarg.arg] = Parameter(arguments.kwarg.arg, Parameter.VAR_KEYWORD)
    return found
