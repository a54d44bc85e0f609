"""References to images: checked by the grammar of the OCI distribution specification."""

from __future__ import annotations

import re

# As in the reference grammar of github.com/distribution/reference, less IPv6 addresses.
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_DOMAIN = rf"(?:localhost|{_HOST}(?:\.{_HOST})+|{_HOST}(?=:\d))(?::\d+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = rf"(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"
_REFERENCE = re.compile(rf"({_NAME})(?::({_TAG}))?(?:@({_DIGEST}))?", re.ASCII)

_LONGEST = 255
"""How many characters a repository's name may have."""


def check_reference(text: str) -> None:
    """Raise ValueError, saying what is wrong, unless this is a reference to an image."""
    if not text:
        raise ValueError("it is empty")
    if "\n" in text or "\r" in text:
        raise ValueError("it holds a line break")
    if re.search(r"\s", text):
        raise ValueError("it holds white space")
    if "$" in text or "{" in text:
        raise ValueError("nothing is filled in here: a `family` has placeholders")
    name = text.split("@", 1)[0]
    repository = name if "/" in name.rpartition(":")[2] else name.rpartition(":")[0] or name
    if text == "scratch":
        raise ValueError("an image cannot begin with nothing: it could run no task")
    if re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError("it is a bare digest; give the image a name (docker tag)")
    found = _REFERENCE.fullmatch(text)
    if found is None:
        if re.search(r"[A-Z]", repository.rpartition("/")[2]):
            raise ValueError("repositories are named in small letters")
        raise ValueError("expected NAME[:TAG][@sha256:DIGEST]")
    if len(found[1]) > _LONGEST:
        raise ValueError(f"its name has more than {_LONGEST} characters")


def check_tag(text: str) -> None:
    """Raise ValueError unless this can be a part of a tag."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", text, re.ASCII):
        raise ValueError("expected letters, digits, `.`, `-` and `_`, as in a tag")
