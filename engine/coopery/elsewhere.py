"""Results that lie outside the home folder, such as images: what they weigh, and whether they go.

The store knows when they were last used and by whom; whoever keeps them knows the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coopery.plugins import Plugins


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """One thing that is kept outside the home folder, under the key of the step that made it.

    `name` is what whoever keeps it knows it by. `size` are the bytes that it alone takes, without
    what it is built upon: `on` is the key of that, where it was made by a step too. What is
    `spare` is nobody's result, such as what a build left that was made again; it is of no use.
    """

    key: str
    name: str
    size: int
    on: str = ""
    spare: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """All that is kept in one place: `kind` says what it is, in the plural (`images`).

    `where` is for people. `room` are the bytes of the disk that it lies on, where they are known.
    With `unseen`, which says why, nobody could look: then `kept` is what the notes tell, and
    nothing can go.
    """

    kind: str
    kept: tuple[Kept, ...]
    where: str = ""
    room: int | None = None
    unseen: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """What the store asks of those who keep results outside of the home folder `home`."""

    plugins: Plugins
    home: Path

    def weigh(self, places: Mapping[str, Path]) -> Sequence[Holding]:
        """What is kept; `places` are the folders of results in place, by key."""
        return self.plugins.weigh(self.home, places)

    def let_go(self, kind: str, kept: Kept) -> bool:
        """Remove it; False while it is in use. Raises MachineError when nobody can be asked."""
        return self.plugins.let_go(self.home, kind, kept)
