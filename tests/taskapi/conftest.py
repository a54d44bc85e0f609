"""Small images that say what they can do, or do not."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

MakeImage = Callable[..., str]


@pytest.fixture
def image(sdk_engine: Any) -> Iterator[MakeImage]:
    """Makes small images of files at their root and labels; they are gone afterwards."""
    made: list[str] = []

    def make(files: dict[str, str], labels: dict[str, str] | None = None, more: str = "") -> str:
        content = io.BytesIO()
        files = {"Dockerfile": f"FROM scratch\nCOPY . /\n{more}", **files, ".any": "x"}
        with tarfile.open(fileobj=content, mode="w") as archive:
            for name, text in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))
        tag = f"coopery-test-spec:{uuid.uuid4().hex[:12]}"
        content.seek(0)
        told = sdk_engine.build(
            fileobj=content, custom_context=True, tag=tag, rm=True, labels=labels, decode=True
        )
        assert not [line for line in told if "error" in line]
        made.append(tag)
        return tag

    yield make
    for tag in made:
        sdk_engine.remove_image(tag, force=True)
