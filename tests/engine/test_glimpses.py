"""The plugins are asked for an image in order, and what they answer is checked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from coopery.errors import MachineError
from coopery.glimpses import Glimpse, glimpse_of
from coopery.hooks import hookimpl
from coopery.options import Settings
from coopery.plugins import Plugins
from coopery.secrets import no_secrets

SEEN = Glimpse(id="sha256:1", source="shelf", files={"/a": b"secret bytes"})


def answering(answer: Any, *, trylast: bool = False, tryfirst: bool = False) -> SimpleNamespace:
    """A plugin that knows every image, or none."""

    def look_into_image(reference: str, paths: tuple[str, ...]) -> Any:
        assert isinstance(paths, tuple)
        return answer

    mark = hookimpl(trylast=trylast, tryfirst=tryfirst)
    return SimpleNamespace(look_into_image=mark(look_into_image))


def look(*plugins: tuple[str, object], paths: tuple[str, ...] = ("/a",)) -> Glimpse:
    def tell(line: str) -> None:
        raise AssertionError(line)

    return Plugins(plugins).look_into_image("x:1", paths, Settings({}), tell, no_secrets())


def test_the_first_that_knows_it_answers() -> None:
    other = Glimpse(id="sha256:2", source="registry")
    nothing = ("a", answering(None))
    assert look(nothing, ("b", answering(SEEN)), ("c", answering(other))) is SEEN
    # As the builtin ones are: the engine's comes before the registry's, and others before both.
    late = answering(other, trylast=True)
    assert look(("a", late), ("b", answering(SEEN))) is SEEN
    assert look(("a", answering(other)), ("z", answering(SEEN, tryfirst=True))) is SEEN


def test_nobody_knows_it() -> None:
    for plugins in ((), (("a", answering(None)),)):
        with pytest.raises(MachineError, match="image-not-found") as error:
            look(*plugins)
        assert "x:1" in str(error.value) and "docker login" in str(error.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("x", "expected a Glimpse, got str"),
        (Glimpse(id=3, source="s"), "id is a string, not int"),  # type: ignore[arg-type]
        (Glimpse(id="i", source="s", command=["x"]), "a tuple, each a string"),  # type: ignore[arg-type]
        (Glimpse(id="i", source="s", files=[]), "files is a mapping"),  # type: ignore[arg-type]
    ],
)
def test_nonsense_is_told(answer: object, said: str) -> None:
    with pytest.raises(MachineError, match="bad-answer") as error:
        look(("bad", answering(answer)))
    assert said in str(error.value) and "--without bad" in str(error.value)


@pytest.mark.parametrize(
    "path", ["", "/", "a", "a/b", "/a/", "//a", "/a//b", "/../a", "/./a", "/\0"]
)
def test_paths_are_absolute(path: str) -> None:
    with pytest.raises(ValueError, match="no absolute path"):
        look(paths=(path,))


def test_contents_are_not_shown() -> None:
    assert "secret bytes" not in repr(SEEN)


def test_old_configurations() -> None:
    config = {"Entrypoint": "/run", "Env": ["ALONE", "A=1", "A=2"], "Cmd": None}
    found = glimpse_of(config, id="i", source="s", files={})
    assert (found.entrypoint, found.command) == (("/run",), ())
    assert found.env == {"ALONE": "", "A": "2"}
