"""Stand-ins for the distributions that coopery brings itself: wheels of metadata alone.

The resolver gets `NAME @ file:///…` for each, so that no index can offer another version of it,
and whatever asks for it is held against its version, extras and requirements.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from coopery.dependencies import LocalDistribution


def write_stub(folder: Path, local: LocalDistribution) -> Path:
    """A wheel in `folder` with the name, version and requirements of `local`, and nothing else."""
    extras = set(local.extras)
    for requirement in local.requires:
        extras |= set(re.findall(r"\bextra\s*==\s*['\"]([^'\"]+)['\"]", requirement.line))
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {local.name}",
        f"Version: {local.version}",
        *([f"Requires-Python: {local.requires_python}"] if local.requires_python else []),
        *(f"Provides-Extra: {extra}" for extra in sorted(extras)),
        *(f"Requires-Dist: {requirement.line}" for requirement in local.requires),
    ]
    stem = f"{re.sub(r'[-_.]+', '_', local.name)}-{local.version.replace('-', '_')}"
    wheel = folder / f"{stem}-py3-none-any.whl"
    tags = "Wheel-Version: 1.0\nGenerator: coopery\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    names = [f"{stem}.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")]
    texts = ["\n".join(metadata) + "\n", tags, "".join(f"{name},,\n" for name in names)]
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in zip(names, texts, strict=True):
            archive.writestr(name, text)
    return wheel
