"""Ask git repositories elsewhere: with what credentials, for which commit, and what went wrong.

Credentials reach git through a helper that reads them from a pipe of coopery's own (`keychain`):
they are in no argument, no variable and no file, neither of git nor of what it starts. The user's
own helpers, ssh agent and known hosts serve wherever a recipe says nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from coopery import masking
from coopery.errors import MachineError, Place, Problem, nearest
from coopery.git_faults import failure, host_of, missing, shown, unknown, wrong
from coopery.indexes import expand
from coopery.repositories import Access, Repository
from coopery.secrets import Secrets

PATIENCE = 60
"""Seconds in which a server must send something, and in which it must be connected to."""
_USERS = {"github.com": "x-access-token"}
"""Who a token belongs to where no user is named; most servers take any name."""
# A caller's git hook sets these for its own repository; traces would tell credentials; a program
# that asks in a window waits for somebody who may not be there.
_DROPPED = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_NAMESPACE",
    "GIT_CURL_VERBOSE", "GIT_TRACE_REDACT", "SSH_ASKPASS",
)  # fmt: skip

_WHOLE = ("fetch.unpackLimit", "1")
"""A pack is there when it is whole. Loose objects, as git likes to have small fetches, are there
one by one: where it is killed meanwhile, uv takes the commit for complete, now and ever after.
"""

Run = Callable[[Sequence[str], Mapping[str, str]], "Said"]
"""Runs a command with these variables to its end."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """How git ended, and what it said, without credentials."""

    code: int
    stdout: str = ""
    stderr: str = ""


@contextlib.contextmanager
def keychain(
    accesses: Iterable[Access], secrets: Secrets, environ: Mapping[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """All variables for git, or for what calls it, while these credentials are to be had.

    A helper counts for its repository; for others, submodules among them, one in the same folder
    of the host counts first, then any of the host. Where there is one, the user's own helpers are
    not asked: git would tell them the credentials, to be kept. Raises MachineError
    (`secret-missing`, `index-credentials`).
    """
    settings: list[tuple[str, str]] = []
    open_files: list[int] = []
    try:
        helpers: dict[tuple[int, str], str] = {}
        for access in sorted(set(accesses), key=lambda a: (a.host, a.url)):
            login = _login(access, secrets)
            if login is None:
                if isinstance(access.username, str) and access.url.startswith("http"):
                    settings.append((f"credential.{access.url}.username", access.username))
                continue
            descriptor = os.memfd_create("coopery-git")
            open_files.append(descriptor)
            os.write(descriptor, login)
            path = f"/proc/{os.getpid()}/fd/{descriptor}"
            helper = f'!f() {{ test "$1" = get && cat {path}; }}; f'
            plain = _plain(access.url)
            # What is less certain comes before, so that it gives way.
            for rank, place in enumerate((access.host, plain.rpartition("/")[0], plain)):
                helpers.setdefault((rank, place), helper)
        for (_, place), helper in sorted(helpers.items()):
            name = f"credential.{place}.helper"
            settings += [(name, ""), (name, helper)]
        # Only now is it known what may not stand in a variable.
        found = without_login(environ)
        _add_settings(found, [_WHOLE, *settings])
        yield found
    finally:
        for descriptor in open_files:
            os.close(descriptor)


def _plain(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _login(access: Access, secrets: Secrets) -> bytes | None:
    """What a helper answers; None where there are no credentials but the user's own."""
    if access.token is not None:
        password = secrets.read(access.token)
        user = secrets.text(access.username) or _user(access.url)
    elif access.userinfo is not None:
        url = expand(f"https://{access.userinfo}@host/", os.environ)
        user, colon, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
        user, password = unquote(user), unquote(password)
        if not colon:  # a token alone: servers take it for the user, or for the password
            password = user
        masking.keep_out(password)
    else:
        return None
    if "\n" in user + password or "\0" in user + password:
        name = access.token.name if access.token else access.userinfo
        message = f"the credentials {name} for {host_of(access.url)} have more than one line"
        hint = "keep the token alone, without a line break at its end"
        raise MachineError(
            Problem(slug="git-credentials", message=message, place=access.place, hint=hint)
        )
    return f"username={user}\npassword={password}\n".encode()


def _user(url: str) -> str:
    parts = urlsplit(url)
    return parts.username or _USERS.get(parts.hostname or "", "oauth2")


def without_login(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables git gets besides its credentials: it asks nobody, and gives up some time.

    What is known to be a secret is left out: git and what it calls need none of them this way.
    """
    found = {
        name: value
        for name, value in (os.environ if environ is None else environ).items()
        if name not in _DROPPED and not name.startswith("GIT_TRACE")
        if masking.masked(value) != masking.MARK
    }
    found |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", "GIT_LFS_SKIP_SMUDGE": "1"}
    found.setdefault("GIT_HTTP_LOW_SPEED_LIMIT", "1")
    found.setdefault("GIT_HTTP_LOW_SPEED_TIME", str(PATIENCE))
    ssh = found.get("GIT_SSH_COMMAND") or (_configured_ssh() if "GIT_SSH" not in found else "")
    if ssh is not None and "GIT_SSH" not in found:
        program = shlex.split(ssh)[0] if ssh else "ssh"
        if os.path.basename(program) == "ssh":  # noqa: PTH119 - a word, not a path of ours
            options = f"-o BatchMode=yes -o ConnectTimeout={PATIENCE} -o ServerAliveInterval=20"
            found["GIT_SSH_COMMAND"] = f"{ssh or 'ssh'} {options}"
    return found


def _configured_ssh() -> str:
    """`core.sshCommand` of the user's own configuration, which a variable would outdo."""
    from pathlib import Path

    from coopery.files import run_git

    found = run_git(Path("/"), "config", "--get", "core.sshCommand")
    return found.decode("utf-8", "surrogateescape").strip() if found else ""


def _add_settings(found: dict[str, str], settings: Sequence[tuple[str, str]]) -> None:
    """Settings by variables, after those that there are (git's documentation, GIT_CONFIG_COUNT)."""
    given = found.get("GIT_CONFIG_COUNT", "0")
    start = int(given) if given.isdigit() else 0
    for number, (key, value) in enumerate(settings, start):
        found[f"GIT_CONFIG_KEY_{number}"] = key
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    found["GIT_CONFIG_COUNT"] = str(start + len(settings))


def find_commit(
    repository: Repository, environment: Mapping[str, str], run: Run, place: Place
) -> str | None:
    """The commit that a repository's `ref` leads to; None for a short commit id, which only the
    whole repository tells.

    Raises RecipeError (`git-ref`,
    `git-ref-ambiguous`, `git-repository`) and MachineError (`git-missing`, `git-unreachable`,
    `git-credentials`, `git-host-key`).
    """
    if repository.commit:
        return repository.commit
    if shutil.which("git", path=environment.get("PATH")) is None:
        raise missing()
    said = run(["git", "ls-remote", "--", repository.url], environment)
    if said.code != 0:
        raise failure(said.stderr, repository.url, place) or unknown(
            said.stderr, repository.url, place
        )
    lines = (line.partition("\t") for line in said.stdout.splitlines() if "\t" in line)
    found = {name: commit for commit, _, name in lines}
    return _choose(repository, found, place)


def _choose(repository: Repository, found: Mapping[str, str], place: Place) -> str | None:
    def at(name: str) -> str | None:
        # Of an annotated tag, what it stands for.
        return found.get(f"{name}^{{}}") or found.get(name)

    ref = repository.ref
    if ref is None:
        if head := at("HEAD"):
            return head
        message = f"{shown(repository.url)} has no commit that its HEAD leads to"
        raise wrong("git-ref", message, place, _near("main", found) or "commit something there")
    if ref == "HEAD" or ref.startswith("refs/"):
        commit = at(ref)
    else:
        branch, tag = at(f"refs/heads/{ref}"), at(f"refs/tags/{ref}")
        if branch and tag and branch != tag:
            message = f"{ref!r} is both a branch and a tag of {shown(repository.url)}"
            hint = f'write ref = "refs/heads/{ref}" or "refs/tags/{ref}"'
            raise wrong("git-ref-ambiguous", message, place, hint)
        commit = branch or tag or at(f"refs/{ref}")
    if commit or re.fullmatch(r"[0-9a-f]{7,63}", ref):
        return commit
    message = f"{shown(repository.url)} has no branch, tag or commit {ref!r}"
    raise wrong("git-ref", message, place, _near(ref, found))


def _near(ref: str, found: Mapping[str, str]) -> str | None:
    """A hint at a branch or tag that there is."""
    names = {
        name.split("/", 2)[2]: name
        for name in found
        if name.startswith(("refs/heads/", "refs/tags/")) and not name.endswith("^{}")
    }
    return nearest(ref.removeprefix("refs/heads/").removeprefix("refs/tags/"), names)


__all__ = ["PATIENCE", "Run", "Said", "find_commit", "keychain", "without_login"]
