"""Execute a recipe file and collect what its calls said."""

from __future__ import annotations

import importlib
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

import coopery
from coopery import authoring
from coopery.errors import CooperyError, KeyPath, Place, Problem, RecipeError, nearest
from coopery.recipes import Document

_executing = threading.RLock()  # sys.path, sys.modules and sys.stdout belong to the whole process
_modules: dict[str, ModuleType] = {}
"""The modules of the recipe that was executed last: itself and those beside it."""


def execute(path: Path) -> Document:
    """The document that a Python recipe amounts to.

    Its module and those it imported from its own folder stay in `sys.modules` until another recipe
    is executed, so that functions can be pickled; a second execution imports them afresh.
    Raises RecipeError: `invalid-python` (with the line) or `recipe-raised`.
    """
    code = _compile(path)
    with _executing, authoring.collecting() as collector, _surroundings(path.parent):
        module = ModuleType(_module_name(path))
        module.__file__ = str(path)
        before = frozenset(sys.modules)
        sys.modules[module.__name__] = module
        try:
            exec(code, module.__dict__)
        except CooperyError:
            raise
        except SyntaxError as error:
            raise RecipeError(_syntax_problem(error, path)) from error
        except (Exception, SystemExit) as error:
            raise RecipeError(_raised(error, path)) from error
        finally:
            _modules.update(_imported_beneath(path.parent, before))
            _modules[module.__name__] = module
    data, places, problems = collector.finish()

    def locate(key: KeyPath) -> Place:
        for end in range(len(key), 0, -1):
            if key[:end] in places:
                found = places[key[:end]]
                return Place(file=found.file, line=found.line, key=key)
        return Place(file=str(path), key=key)

    return Document(data=data, locate=locate, problems=tuple(problems))


def _compile(path: Path) -> CodeType:
    try:
        return compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise RecipeError(_syntax_problem(error, path)) from error
    except ValueError as error:  # NUL characters, in some versions of Python
        broken = Problem(slug="invalid-python", message=str(error), place=Place(file=str(path)))
        raise RecipeError(broken) from error


def _module_name(path: Path) -> str:
    """The file's stem; not one that hides a module which is already there."""
    stem = "".join(c if c.isalnum() else "_" for c in path.stem)
    known = stem in sys.modules or stem in sys.stdlib_module_names
    return f"recipe_{stem}" if known or not stem.isidentifier() else stem


@contextmanager
def _surroundings(folder: Path) -> Iterator[None]:
    """The recipe's folder is importable, its output goes to stderr, no bytecode is left in it."""
    for name, module in _modules.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
    _modules.clear()
    importlib.invalidate_caches()
    old_path, old_bytecode = list(sys.path), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path[:] = old_path
        sys.dont_write_bytecode = old_bytecode


def _imported_beneath(folder: Path, before: frozenset[str]) -> dict[str, ModuleType]:
    """The new Python modules of this folder; not of environments in it, nor coopery's own."""
    prefix = _prefix(folder)
    found = {}
    for name, module in list(sys.modules.items()):
        file = None if name in before else getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py"):
            continue
        if name.split(".")[0].startswith("coopery"):
            continue
        if os.path.realpath(file).startswith(prefix) and not _installed(file):
            found[name] = module
    return found


def _prefix(folder: Path) -> str:
    return os.path.realpath(folder).rstrip(os.sep) + os.sep


def _installed(file: str) -> bool:
    parts = Path(file).parts
    return "site-packages" in parts or "dist-packages" in parts


def _syntax_problem(error: SyntaxError, path: Path) -> Problem:
    place = Place(file=error.filename or str(path), line=error.lineno)
    return Problem(slug="invalid-python", message=error.msg, place=place)


def _raised(error: BaseException, path: Path) -> Problem:
    """What the recipe raised, at the innermost line that its author wrote."""
    text = f"sys.exit({error.code!r})" if isinstance(error, SystemExit) else str(error)
    what = text if isinstance(error, SystemExit) else f"{type(error).__name__}: {text}"
    hint = None
    if isinstance(error, ModuleNotFoundError):
        hint = (
            f"the Python that runs coopery ({sys.executable}) does not have it: "
            "install it there, or import it inside the function that needs it"
        )
    else:
        hint = _near_name(error)
        what = re.sub(r" \(\S+/coopery/\S+\.py\)$", "", what)
    return Problem(
        slug="recipe-raised",
        message=f"the recipe raised {what}"
        if text
        else f"the recipe raised {type(error).__name__}",
        place=_innermost(error.__traceback__, path),
        hint=hint,
    )


def _near_name(error: BaseException) -> str | None:
    """The nearest name of coopery's to one that it does not have; None for other errors."""
    match error:
        case ImportError(name="coopery"):
            given = re.match(r"cannot import name '(\w+)'", str(error))
            return nearest(given[1], coopery.__all__) if given else None
        case AttributeError(name=str() as name, obj=obj) if obj is coopery:
            return nearest(name, coopery.__all__)
        case AttributeError(name=str() as name, obj=obj) if type(obj).__module__.startswith(
            "coopery."
        ):
            return nearest(name, [known for known in dir(obj) if not known.startswith("_")])
        case NameError(name=str() as name):
            near = nearest(name, coopery.__all__)
            return near if near and near.startswith("did") else None
    return None


def _innermost(traceback: TracebackType | None, path: Path) -> Place:
    prefix = _prefix(path.parent)
    place = Place(file=str(path))
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if os.path.realpath(file).startswith(prefix) and not _installed(file):
            place = Place(file=file, line=traceback.tb_lineno)
        traceback = traceback.tb_next
    return place
