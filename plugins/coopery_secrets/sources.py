"""Where a secret is looked for, in one order: a variable, a file, the keyring."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from coopery.errors import MachineError, Place, Problem
from coopery.secrets import withhold

if TYPE_CHECKING:
    from coopery.model import Recipe

SERVICE = "coopery"
"""What a secret is filed under in the keyring, with its name for the user."""
MOST = 1 << 20
"""Bytes of a file that a secret may have."""
_CONTAINERS = Path("/run/secrets")
"""Where a container engine puts the secrets of a container."""
_GUIDE = "docs/how-to/keep-secrets.md tells how"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A secret's value, and where it was, in words."""

    value: str = field(repr=False)
    source: str


def find(name: str, declared: Sequence[str]) -> Found:
    """A secret's value, from the source `declared` for it (`NAME=SOURCE`), else from the first.

    Raises MachineError: `secret-missing`, `secret-exposed`, `bad-secret`, `keyring-failed`.
    """
    stated = [text.partition("=")[2] for text in declared if text.partition("=")[0] == name]
    if stated:
        kind, _, rest = stated[0].partition(":")
        found, where = _stated(name, kind, rest)
        if found is None:
            message = f"there is no secret {name}: --secret says that it is in {where}"
            hint = f"put it there, or say where else it is; {_GUIDE}"
            raise MachineError(Problem(slug="secret-missing", message=message, hint=hint))
        return found
    looked = []
    for look in (_from_variable, _from_folders, _from_keyring):
        found, where = look(name)
        if found is not None:
            return found
        looked.append(where)
    message = f"there is no secret {name}: not in {', '.join(looked[:-1])}, or {looked[-1]}"
    hint = f"put it into one of them, or say where it is with --secret {name}=…; {_GUIDE}"
    raise MachineError(Problem(slug="secret-missing", message=message, hint=hint))


def check(declared: Sequence[str], recipe: Recipe) -> Iterator[Problem]:
    """What is wrong with what is declared as a whole; its variables are withheld from now on.

    Sources may be declared for several recipes; but what is nearly the name of a secret of this one
    is warned of, as that one would be looked for elsewhere.
    """
    from coopery_secrets.listing import named

    seen: dict[str, str] = {}
    known = {secret.name for _, secret in named(recipe)}
    for text in declared:
        name, _, source = text.partition("=")
        if seen.setdefault(name, source) != source:
            message = f"--secret names two sources of the secret {name}"
            place = Place(file="--secret")
            hint = "keep one of them"
            yield Problem(slug="bad-option", message=message, place=place, hint=hint)
        kind, _, rest = source.partition(":")
        if kind == "env":
            withhold([rest])
        # A `${NAME}` of a requirements file may be one as well.
        near = None if name in known else get_close_matches(name, known - {*seen}, n=1, cutoff=0.8)
        if near:
            message = f"--secret says where {name} is, and the recipe names no such secret"
            hint = f"did you mean {near[0]!r}?"
            place = Place(file="--secret")
            yield Problem(
                slug="unknown-secret", message=message, place=place, hint=hint, warning=True
            )


def _stated(name: str, kind: str, rest: str) -> tuple[Found | None, str]:
    match kind:
        case "env":
            return _variable(name, rest)
        case "file":
            return _file(name, Path(rest).expanduser(), stated=True)
        case _:
            service, _, user = rest.rpartition("/")
            found, where = _keyring(name, service, user)
            if found is None and where == _NO_KEYRING:
                message = f"the secret {name} is to come from the keyring, and there is none"
                hint = "install coopery[keyring], and a keyring; or say another source"
                raise MachineError(Problem(slug="keyring-failed", message=message, hint=hint))
            return found, where


def _from_variable(name: str) -> tuple[Found | None, str]:
    return _variable(name, name)


def _from_folders(name: str) -> tuple[Found | None, str]:
    paths = [folder / name for folder in folders()]
    for path in paths:
        found, _ = _file(name, path)
        if found is not None:
            return found, str(path)
    return None, f"the file {' or '.join(map(str, paths))}"


def _from_keyring(name: str) -> tuple[Found | None, str]:
    return _keyring(name, SERVICE, name)


def folders() -> tuple[Path, ...]:
    """The folders that hold a file for each secret: one's own, and a container's."""
    own = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return (Path(own) / "coopery" / "secrets", _CONTAINERS)


# -- variables ------------------------------------------------------------------------------------


def _variable(name: str, variable: str) -> tuple[Found | None, str]:
    where = f"the variable {variable}"
    value = os.environ.get(variable)
    if value is None:
        return None, where
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _bad(name, where, "is no UTF-8 text") from None
    return _found(name, value, where), where


# -- files ----------------------------------------------------------------------------------------


def _file(name: str, path: Path, *, stated: bool = False) -> tuple[Found | None, str]:
    """What a file holds, without the line's end that editors put there.

    A stated one may be a pipe, such as that of a shell's `<(command)`.
    """
    where = f"the file {path}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if stated else os.O_NONBLOCK))
    except (FileNotFoundError, NotADirectoryError):
        return None, where
    except OSError as error:
        raise _bad(name, where, f"cannot be read: {error.strerror}") from None
    try:
        state = os.fstat(descriptor)
        if not (stat.S_ISREG(state.st_mode) or (stated and stat.S_ISFIFO(state.st_mode))):
            raise _bad(name, where, "is no file")
        if state.st_mode & 0o077 and not _is_mounted(path, descriptor):
            raise _exposed(name, path, state.st_mode)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MOST + 1)
    except OSError as error:
        raise _bad(name, where, f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(content) > MOST:
        raise _bad(name, where, f"has more than {MOST >> 20} MiB")
    try:
        value = content.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(name, where, "is no UTF-8 text") from None
    return _found(name, value.removesuffix("\n").removesuffix("\r"), where), where


def _is_mounted(path: Path, descriptor: int) -> bool:
    """Whether whoever runs this machine, or container, has put a file where it is.

    Engines mount the secrets of a container below /run/secrets, by default readable for all that
    run in it. These share its secrets anyway, and its user can change neither owner nor mode.
    """
    if not path.resolve().is_relative_to(_CONTAINERS.resolve()):
        return False
    state = os.fstat(descriptor)
    roots = state.st_uid == 0 and not state.st_mode & 0o022
    return roots or bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY)


def _exposed(name: str, path: Path, mode: int) -> MachineError:
    message = f"{path} holds the secret {name}, and others may read it ({stat.filemode(mode)})"
    hint = f"chmod 600 {path}"
    return MachineError(Problem(slug="secret-exposed", message=message, hint=hint))


# -- the keyring ----------------------------------------------------------------------------------

_NO_KEYRING = "the keyring (there is none here)"


def _keyring(name: str, service: str, user: str) -> tuple[Found | None, str]:
    where = f"the keyring (service {service}, user {user})"
    try:
        import keyring
        from keyring.errors import KeyringError, NoKeyringError
    except ImportError:
        return None, "the keyring (coopery[keyring] is not installed)"
    try:
        value = keyring.get_password(service, user)
    except NoKeyringError:
        return None, _NO_KEYRING
    except KeyringError as error:
        message = f"the keyring does not give the secret {name}: {error or type(error).__name__}"
        hint = f"unlock it, or say where else the secret is: --secret {name}=…"
        raise MachineError(Problem(slug="keyring-failed", message=message, hint=hint)) from None
    return (None if value is None else _found(name, value, where)), where


# -- values ---------------------------------------------------------------------------------------


def _found(name: str, value: str, where: str) -> Found:
    if not value:
        raise _bad(name, where, "is empty")
    return Found(value=value, source=where)


def _bad(name: str, where: str, why: str) -> MachineError:
    message = f"the secret {name} cannot be had: {where} {why}"
    hint = f"mend it, or say where else the secret is: --secret {name}=…"
    return MachineError(Problem(slug="bad-secret", message=message, hint=hint))
