"""Images that a task describes where others name one: `image = { packages = ["numpy"] }`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coopery.errors import KeyPath, Place, Problem, problem

if TYPE_CHECKING:
    from coopery.recipes import Facet

Locate = Callable[[KeyPath], Place]
"""Tells where a key of a recipe stands."""


@dataclass(frozen=True)
class Located:
    """Locates keys of images where they were described, by `origins`; others by `locate`."""

    locate: Locate
    origins: Mapping[str, KeyPath]

    def spoken(self, key: KeyPath) -> KeyPath:
        """A key as the recipe has it."""
        return spoken(self._original(key), self.locate)

    def __call__(self, key: KeyPath) -> Place:
        """Where it stands."""
        return self.locate(self._original(key))

    def _original(self, key: KeyPath) -> KeyPath:
        if len(key) > 1 and key[0] == "image" and key[1] in self.origins:
            return (*self.origins[str(key[1])], *key[2:])
        return key


@dataclass(frozen=True)
class Named:
    """Locates the images of tasks at the keys that name them, by `keys`; others by `locate`."""

    locate: Locate
    keys: Mapping[str, str]

    def spoken(self, key: KeyPath) -> KeyPath:
        """A key as the recipe has it."""
        return spoken(self._original(key), self.locate)

    def __call__(self, key: KeyPath) -> Place:
        """Where it stands."""
        return self.locate(self._original(key))

    def _original(self, key: KeyPath) -> KeyPath:
        if len(key) > 2 and (key[0], key[2]) == ("task", "image") and key[1] in self.keys:
            return (*key[:2], self.keys[str(key[1])])
        return key


def spoken(key: KeyPath, locate: Locate) -> KeyPath:
    """A key as the recipe has it, whose keys `locate` locates: a reader whose document has other
    keys says so by a method of this name.
    """
    said: Callable[[KeyPath], KeyPath] | None = getattr(locate, "spoken", None)
    return said(key) if said else key


def inlined(data: Mapping[str, Any], locate: Locate) -> tuple[Mapping[str, Any], Locate]:
    """A recipe's tables with a name for every image, and what locates their keys.

    An image that tasks or the defaults describe is called as the first task that does so; equal
    descriptions are one image.
    """
    described = dict(_described(data))
    if not described:
        return data, locate
    images = dict(data.get("image", {}))
    origins: dict[str, KeyPath] = {}
    changed: dict[str, Any] = {**data, "image": images}
    for key, table in described.items():
        name = next((n for n in origins if images[n] == table), None)
        if name is None:
            name = _free(str(key[1]) if key[0] == "task" else "defaults", images)
            images[name] = table
            origins[name] = key
        if key[0] == "task":
            tasks = changed["task"]
            changed["task"] = {**tasks, key[1]: {**tasks[key[1]], "image": name}}
        else:
            changed["defaults"] = {**data["defaults"], "image": name}
    return changed, Located(locate, origins)


def with_images(
    data: Mapping[str, Any], locate: Locate, facets: Sequence[Facet], problems: list[Problem]
) -> tuple[Mapping[str, Any], Locate]:
    """A recipe's tables with the image of each task that another of its keys names, and what
    locates their keys.
    """
    naming = {facet.key: facet.image_of for facet in facets if facet.image_of is not None}
    tasks, images = data.get("task"), data.get("image", {})
    if not naming or not isinstance(tasks, Mapping) or not isinstance(images, Mapping):
        return data, locate
    changed = dict(tasks)
    keys: dict[str, str] = {}
    for name, task in tasks.items():
        found = next((key for key in naming if isinstance(task, Mapping) and key in task), None)
        if found is None:
            continue
        image = naming[found](task[found], tuple(images))
        if image is not None and task.get("image", image) != image:
            message = f"`{found}` names another image already"
            hint = "leave `image` out"
            key: KeyPath = ("task", name, "image")
            problems.append(problem("two-images", message, key=key, hint=hint))
        if image is not None:
            changed[name] = {**task, "image": image}
            if "image" not in task:
                keys[name] = found
    return {**data, "task": changed}, Named(locate, keys) if keys else locate


def _described(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    images = data.get("image", {})
    if not isinstance(images, Mapping):
        return
    defaults = data.get("defaults")
    if isinstance(defaults, Mapping) and isinstance(defaults.get("image"), Mapping):
        yield ("defaults", "image"), defaults["image"]
    tasks = data.get("task")
    for name, task in tasks.items() if isinstance(tasks, Mapping) else ():
        if isinstance(task, Mapping) and isinstance(task.get("image"), Mapping):
            yield ("task", name, "image"), task["image"]


def _free(name: str, images: Mapping[str, Any]) -> str:
    taken = {known.lower() for known in images}
    number, found = 1, name
    while found.lower() in taken:
        number += 1
        found = f"{name}-{number}"
    return found
