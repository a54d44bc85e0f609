"""What git says of a repository that it cannot read, as one clear problem."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from coopery.errors import CooperyError, MachineError, Place, Problem, RecipeError
from coopery.indexes import redact


def shown(url: str) -> str:
    """A repository's URL for people, without credentials."""
    return redact(url) if not url.startswith("ssh:") else url


def host_of(url: str) -> str:
    """The host of a URL, with its port; of a file's, the URL."""
    return urlsplit(url).netloc.rpartition("@")[2] or shown(url)


def wrong(slug: str, message: str, place: Place, hint: str | None) -> RecipeError:
    """What is for the recipe to mend."""
    return RecipeError(Problem(slug=slug, message=message, place=place, hint=hint))


def lacks(slug: str, message: str, place: Place, hint: str) -> MachineError:
    """What is for the machine, or a server, to mend."""
    return MachineError(Problem(slug=slug, message=message, place=place, hint=hint))


def missing() -> MachineError:
    """There is no git here (`git-missing`)."""
    message = "git is not on PATH, and a package comes from a git repository"
    return lacks("git-missing", message, Place(), "install git: apt-get install git")


_DENIED = re.compile(
    r"Authentication failed|could not read (?:Username|Password)|HTTP Basic: Access denied"
    r"|returned error: 40[13]|terminal prompts disabled|Invalid username or (?:password|token)"
    r"|Permission denied \(|Permission denied, please try again"
)
_HOST_KEY = re.compile(r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED")
_NOT_THERE = re.compile(
    r"[Rr]epository '?[^\n]*'? ?not found|does not appear to be a git repository"
    r"|returned error: 404|not a git repository|does not exist|not found: did you run"
)
_UNREACHABLE = re.compile(
    r"Could not resolve host(?:name)?|Connection (?:refused|reset|timed out|closed)"
    r"|Failed to connect|Couldn't connect|Operation (?:timed out|too slow)|Network is unreachable"
    r"|No route to host|Temporary failure in name resolution|Name or service not known"
    r"|SSL|certificate|early EOF|unexpected disconnect|returned error: 5\d\d|Empty reply"
    r"|Could not read from remote repository|timed out"
)
_GONE = re.compile(
    r"not our ref|unadvertised object|did not send all necessary objects|bad object"
    r"|reference is not a tree|couldn't find remote ref|remote did not send"
)


def failure(story: str, url: str, place: Place | None = None) -> CooperyError | None:
    """What git's words amount to, of a repository that could not be read; None if nothing known."""
    place = place or Place()
    host, text = host_of(url), re.sub(r"\s+", " ", story)
    if _HOST_KEY.search(text):
        changed = "IDENTIFICATION HAS CHANGED" in text
        what = "is another than the one that is known" if changed else "is not known here"
        hint = (
            f"see that it is the right one, then add it: ssh-keyscan {host} >> ~/.ssh/known_hosts"
        )
        return lacks("git-host-key", f"the host key of {host} {what}", place, hint)
    if _DENIED.search(text):
        message = f"{host} refuses the credentials for {shown(url)}, or wants some"
        hint = 'give it a token = { secret = "NAME" } that may read the repository, or log in with '
        hint += "a credential helper of git"
        if url.startswith("ssh:"):
            hint = "give the server your public key, and your agent the private one: ssh-add"
        return lacks("git-credentials", message, place, hint)
    if _NOT_THERE.search(text):
        hint = "check the URL; servers say the same of a private one without credentials"
        if url.startswith("file:"):
            hint = "check the path; what is elsewhere is written https://HOST/PATH, or "
            hint += "github:OWNER/NAME"
        return wrong("git-repository", f"there is no repository {shown(url)}", place, hint)
    if _UNREACHABLE.search(text):
        message = f"{host} does not answer: {reason(story)}"
        return lacks("git-unreachable", message, place, "check the host's name and the network")
    if _GONE.search(text):
        message = f"{shown(url)} does not have the commit any more, or does not give it"
        return wrong("git-ref", message, place, "take what is there now: coopery lock --upgrade")
    return None


def unknown(story: str, url: str, place: Place) -> MachineError:
    """git failed for a reason that is not known (`git-failed`)."""
    message = f"git cannot read {shown(url)}: {reason(story)}"
    return lacks("git-failed", message, place, "`git ls-remote` with its URL says more")


def reason(story: str) -> str:
    """The line of git's words that tells most."""
    lines = [redact(line.strip()) for line in story.splitlines() if line.strip()]
    dull = re.compile(
        r"Could not read from remote|Failed to (?:download and )?build|Failed to clone"
    )
    lines = [line for line in lines if not dull.search(line)] or lines
    telling = [
        [line for line in lines if re.match(rf"(?:{kind})\b", line)]
        for kind in ("ssh|remote", "fatal", "error")
    ]
    kept = next(filter(None, telling), lines)
    return re.sub(r"^(?:fatal|error):\s*", "", kept[0]) if kept else "it gave no reason"


def submodule_failure(story: str, where: str) -> tuple[str, str]:
    """The message and the hint about a submodule that cannot be had."""
    text = re.sub(r"\s+", " ", story)
    which = re.search(r"clone of '([^']+)' into submodule path '([^']+)'", text)
    named = f"the submodule {shown(which[1])}" if which else "a submodule"
    message = f"{named} of {where} cannot be fetched: {reason(story)}"
    hint = "see that it is there, and may be read with the credentials of its host"
    if "transport 'file' not allowed" in text:
        hint = "git refuses submodules that are files of this machine; if you trust them: git "
        hint += "config --global protocol.file.allow always"
    return message, hint


__all__ = [
    "failure",
    "host_of",
    "lacks",
    "missing",
    "reason",
    "shown",
    "submodule_failure",
    "unknown",
    "wrong",
]
