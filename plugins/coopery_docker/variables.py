"""Secrets as variables of a task in a container, of which the engine knows nothing.

What the API is told of a container's environment is kept on the engine's disk, and shown to whoever
asks. So the task's command is started by a line of shell (or, where the image has none, of Python)
that takes the variables from a file in memory, and then becomes the command.
"""

from __future__ import annotations

import functools
import shlex
import threading
from pathlib import Path, PurePosixPath

from coopery.errors import StepError, problem
from coopery.keeping import Handed
from coopery.staging import Mount
from coopery.steps import Workspace
from coopery_docker.client import Engine
from coopery_docker.containers import Job, create, remove
from coopery_docker.notes import STEP, noted

_FILE = "/coopery/secrets/.variables"
_NAME = ".variables"

READ = f". {_FILE} && "
"""A line of shell that takes the variables; the next command follows."""
# A command that is not there is told as the init process tells it of all others (`tasks._judge`).
_SHELL = (
    'unset PWD OLDPWD; case "$1" in */*) test -f "$1" && test -x "$1";; '
    + '*) command -v -- "$1" > /dev/null;; esac || { echo "[FATAL tini (1)] exec $1 '
    + 'failed: it is not there, or cannot be executed" >&2; exit 127; }; exec "$@"'
)
NO_DUMP = "ulimit -c 0; "
"""A line of shell after which what crashes leaves no memory on a disk."""
_PYTHON = f"""
import os, resource, shlex, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
if os.path.exists({_FILE!r}):
    words = shlex.split(open({_FILE!r}, encoding="utf-8", newline="").read())
    os.environ.update(word.split("=", 1) for word in words if word != "export")
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    print("[FATAL tini (1)] exec %s failed: %s" % (sys.argv[1], error.strerror), file=sys.stderr)
    sys.exit(127)
"""
_SH = "/bin/sh"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def mount(given: Handed, *, others: bool) -> Mount:
    """The file with the variables, where the starter looks for it."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in given.variables.items()]
    path = given.write(_NAME, "".join(lines), others=others)
    return Mount(source=path, target=Path(_FILE), secret=True)


def starter(
    engine: Engine, workspace: Workspace, image: str, *, reads: bool = True
) -> tuple[str, ...]:
    """The words before a command that see to it that it leaves no memory on a disk, and that give
    it the variables if it `reads` any; for an image that has neither a shell nor Python none.

    Raises StepError (`no-secret-variables`) where there are variables, and none can be given.
    """
    with _looking:
        found = _starter(engine, workspace.home, workspace.run or "shell", image)
    if found == _SH:
        return (_SH, "-c", f"{NO_DUMP}{READ if reads else ''}{_SHELL}", "coopery")
    if found is not None:
        return (found, "-I", "-S", "-c", _PYTHON)
    if not reads:
        return ()
    message = "secrets cannot be variables in this image: it has neither /bin/sh nor Python"
    hint = "hand them over as files: drop `as` of the task's secrets"
    raise StepError(problem("no-secret-variables", message, hint=hint))


_looking = threading.Lock()


@functools.lru_cache(maxsize=64)
def _starter(engine: Engine, home: Path, run: str, image: str) -> str | None:
    return _first(engine, home, run, image)


def _first(engine: Engine, home: Path, run: str, image: str) -> str | None:
    """The shell of an image, or else its Python; looked for in a container that never starts."""
    body = {"Image": image, "Entrypoint": ["-"], "Labels": {STEP: "looking for a shell"}}
    body["HostConfig"] = {"NetworkMode": "none", "LogConfig": {"Type": "none"}}
    job = Job(home=home, run=run, name="looking", body=body, write=lambda _: None)
    with noted(home, run) as note:
        ident = create(engine, job, note)
        try:
            if _has(engine, ident, _SH):
                return _SH
            with engine.asked("did not tell what the image is"):
                config = engine.api.inspect_container(ident)["Config"]
            told = dict(item.partition("=")[::2] for item in config.get("Env") or ())
            for folder in told.get("PATH", _PATH).split(":"):
                path = str(PurePosixPath(folder) / "python3")
                if folder.startswith("/") and _has(engine, ident, path):
                    return path
            return None
        finally:
            remove(engine, ident, note)


def _has(engine: Engine, ident: str, path: str) -> bool:
    from docker.errors import APIError

    with engine.asked(f"did not tell whether the image has {path}"):
        try:
            stream, _ = engine.api.get_archive(ident, path)
        except APIError as error:
            if error.status_code != 404:
                raise
            return False
        stream.close()
    return True


__all__ = ["NO_DUMP", "READ", "mount", "starter"]
