"""What a recipe says of templates: `template` of a task, and `specification` of an image (K10)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from coopery.marks import Text, shorthand
from coopery_taskapi.models import Amounts, ScaleRule, Template

_REFERENCE = re.compile(r"[^#\s]+")


def check_use(text: str) -> str:
    """The image and the template of it that a task is of. Raises ValueError."""
    image, hash_, identifier = text.partition("#")
    if not hash_ or not identifier.strip() or not identifier.isprintable():
        raise ValueError("expected IMAGE#IDENTIFIER")
    if not _REFERENCE.fullmatch(image):
        raise ValueError("it names no image before the `#`")
    return text


UseName = Annotated[
    str,
    Text(
        check_use,
        pattern=r"^[^#\s]+#.*\S",
        what="a template of an image",
        mend='write the image and the identifier: "shapes#count" or "registry.example/x:1#count"',
    ),
]


@dataclass(frozen=True, kw_only=True)
class TemplateUse:
    """The template that a task is of: `IMAGE#IDENTIFIER`, for which plain text is short.

    IMAGE is one of the recipe's, or a reference with a tag, a digest or a registry. Command,
    variables, resources and the places of channels are the template's; `command`, `resources` and
    `scale_rule` (by channel) take the place of what it says. `inline` is the template itself, where
    the image does not say it; `custom` is what `{{ custom.NAME }}` stands for in the file that
    `--specification` names.
    """

    needs_image: ClassVar[bool] = False
    """That a runtime without images may run it nevertheless, which others ask of facets."""

    name: Annotated[UseName, shorthand]
    command: tuple[str, ...] | None = None
    resources: Amounts | None = None
    scale_rule: Mapping[str, ScaleRule] = field(default_factory=dict)
    inline: Template | None = None
    custom: Mapping[str, str] = field(default_factory=dict)

    @property
    def image(self) -> str:
        """The recipe's image, or a reference."""
        return self.name.partition("#")[0]

    @property
    def identifier(self) -> str:
        """Which of the image's templates it is."""
        return self.name.partition("#")[2]


def image_of(raw: Any, images: Collection[str]) -> str | Mapping[str, Any] | None:
    """The image of a task by the raw value of its `template`; None where that names none.

    A name alone is one of the recipe's images; what has a tag, a digest or a registry, a reference.
    """
    name = raw.get("name") if isinstance(raw, Mapping) else raw
    if not isinstance(name, str):
        return None
    try:
        image = check_use(name).partition("#")[0]
    except ValueError:
        return None
    if image not in images and any(mark in image for mark in ":/@"):
        return {"prebuilt": image}
    return image


@dataclass(frozen=True)
class SpecificationFile:
    """The file of the project in which an image says what it can do; it lies in the image then."""

    path: str
