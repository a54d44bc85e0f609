"""One attempt at a step: open what it needs, do its work, take what it made into the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from coopery import masking, telling
from coopery.errors import CooperyError, Problem, StepError, StepSkipped, problem
from coopery.keys import Identities
from coopery.steps import (
    FileSet,
    FileSource,
    Gathered,
    Identity,
    Made,
    Step,
    StepSource,
    Store,
    Workspace,
)
from coopery.stopping import Stop

if TYPE_CHECKING:
    from coopery.plugins import Plugins
    from coopery.secrets import Secrets
    from coopery.transients import Dropper


class Performer:
    """Performs steps of one run."""

    def __init__(
        self,
        plugins: Plugins,
        store: Store,
        identities: Identities,
        run: str,
        home: Path,
        stop: Stop,
        secrets: Secrets,
    ) -> None:
        self._plugins = plugins
        self._store = store
        self._identities = identities
        self._run = run
        self._home = home
        self._stop = stop
        self._secrets = secrets

    def attempt(
        self,
        step: Step,
        key: str,
        dropper: Dropper,
        devices: tuple[int, ...] = (),
        *,
        anew: bool = False,
    ) -> tuple[Made, dict[str, Identity]]:
        """Do the work once, on these GPUs, `anew` if it was forced.

        Returns its facts, and the outputs as the store took them.

        The `dropper` keeps them until the step's end.

        Raises StepError, MachineError, and whatever a plugin's defect raises.
        """
        scratch = self._store.scratch(step.name)
        folder = self._store.place(key) if step.work.in_place else scratch
        try:
            folder = folder if step.work.in_place else folder / "work"
            log = self._store.log_path(self._run, step.name)
            workspace = self._workspace(step, key, scratch, folder, log, devices, anew=anew)
            made = telling.made(self._plugins.perform(step, workspace))
            self._check_inputs(step)
            if step.work.in_place:
                self._store.complete(key)
                return made, in_place(step, key)
            with dropper.taking(step.name) as hold:
                found = {output: self._store.put(made.outputs[output]) for output in step.outputs}
                hold(found.values())
            return made, found
        finally:
            _remove(scratch)

    def visit(self, step: Step, key: str) -> int:
        """Open a shell where the work would be done; its exit code. Nothing of it stays."""
        scratch = self._store.scratch(step.name)
        try:
            workspace = self._workspace(step, key, scratch, scratch / "work", scratch / "log")
            return self._plugins.open_shell(step, workspace)
        finally:
            _remove(scratch)

    def _workspace(
        self,
        step: Step,
        key: str,
        scratch: Path,
        folder: Path,
        log: Path,
        devices: tuple[int, ...] = (),
        *,
        anew: bool = False,
    ) -> Workspace:
        inputs, gathered = self._open_needs(step, scratch)
        folder.mkdir(exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        return Workspace(
            step=step,
            folder=folder,
            inputs=inputs,
            gathered=gathered,
            log=log,
            home=self._home,
            key=key,
            cancelled=self._stop.asked,
            killed=self._stop.forced,
            run=self._run,
            devices=devices,
            secrets=self._secrets,
            anew=anew,
        )

    def _open_needs(
        self, step: Step, scratch: Path
    ) -> tuple[dict[str, Path], dict[str, tuple[tuple[str, Path], ...]]]:
        """By role, a path to read each need from. Chosen files are copied out."""
        inputs: dict[str, Path] = {}
        gathered: dict[str, tuple[tuple[str, Path], ...]] = {}
        for index, need in enumerate(step.needs):
            match need.source:
                case FileSource(path=path):
                    inputs[need.role] = path
                case FileSet(root=root, files=files):
                    folder = scratch / f"need-{index}"
                    folder.mkdir()
                    for name in files:
                        (folder / name).parent.mkdir(parents=True, exist_ok=True)
                        self._store.copy(root / name, folder / name)
                    # The copy is what is read, so the copy is what must be as it was keyed.
                    now = self._store.identify_set(folder, files).digest
                    if now != self._identities.of_set(root, files).digest:
                        raise modified(need.source.shown, step)
                    inputs[need.role] = folder
                case StepSource() as source:
                    inputs[need.role] = self._find(source)
                case Gathered(parts=parts):
                    gathered[need.role] = tuple((path, self._find(part)) for path, part in parts)
        return inputs, gathered

    def _find(self, source: StepSource) -> Path:
        path = self._store.find(self._identities.outputs[source.step][source.output])
        if path is None:
            message = f"the bytes of {source.step}.{source.output} went missing during the run"
            raise StepError(problem("lost-bytes", message, hint="run again: they are made anew"))
        if not source.inside:
            return path
        from coopery.files import beneath

        inner = beneath(path, source.inside)
        if not inner.exists():
            message = f"{source.step}.{source.output} has no {source.inside!r} inside"
            raise StepError(problem("missing-input", message))
        return inner

    def _check_inputs(self, step: Step) -> None:
        """Project files must be as they were when the key was made (semantics 9)."""
        paths = [n.source.path for n in step.needs if isinstance(n.source, FileSource)]
        now = self._store.identify_many(paths)
        for need in step.needs:
            if not isinstance(need.source, FileSource):
                continue
            found = now.get(need.source.path)
            if found != self._identities.files.get(need.source.path):
                raise modified(need.source.shown, step)


_NOT_AGAIN = (
    *("cancelled", "command-not-found", "environment-modified", "input-modified"),
    "not-allowed",
)
"""Failures that trying again does not mend."""


def retryable(step: Step, error: StepError) -> bool:
    """Whether a failure is one that the step is to be tried again after.

    An exit code of a process that a signal ended counts as a shell counts it: 128 + its number.
    """
    slugs = [found.slug for found in error.problems]
    if isinstance(error, StepSkipped):
        return False
    if any(slug in _NOT_AGAIN for slug in slugs):
        return False
    causes = step.retries.on
    if not causes:
        return True
    code = error.facts.get("exit_code")
    if isinstance(code, int) and (code if code >= 0 else 128 - code) in causes:
        return True
    return ("timeout" in causes and "task-timeout" in slugs) or (
        "out-of-memory" in causes and "out-of-memory" in slugs
    )


def said_so(error: StepSkipped) -> str:
    """How a step's work said that it had nothing to do."""
    return f"it said so by exit code {error.facts.get('exit_code')}"


def in_place(step: Step, key: str) -> dict[str, Identity]:
    """The identities of the outputs of work in place: the step's key (semantics 1)."""
    return {output: Identity(digest=key, kind="place") for output in step.outputs}


def modified(shown: str, step: Step) -> StepError:
    message = f"{shown} changed while {step.name} ran"
    hint = "nothing was remembered; run again"
    return StepError(problem("input-modified", message, key=step.key_path, hint=hint))


def trace(log: Path) -> None:
    """The traceback of a defect, at the end of the step's log."""
    import traceback

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(masking.masked(traceback.format_exc()))


def os_error(error: OSError) -> CooperyError:
    """What the system refused, as an error of the machine."""
    import errno

    from coopery.errors import MachineError

    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    slug = "disk-full" if full else "machine-error"
    hint = "free some space, then run again: finished work is kept" if full else None
    return MachineError(Problem(slug=slug, message=str(error), hint=hint))


def _remove(folder: Path) -> None:
    """Remove a scratch folder, also where a task took the write bits away."""
    import shutil

    def retry(function: Callable[[str], object], path: str, error: BaseException) -> None:
        if isinstance(error, FileNotFoundError):
            return
        if not isinstance(error, PermissionError):
            raise error
        Path(path).parent.chmod(0o700)
        if Path(path).is_dir() and not Path(path).is_symlink():
            Path(path).chmod(0o700)
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)

    import sys

    if sys.version_info >= (3, 12):
        shutil.rmtree(folder, onexc=retry)
    else:
        shutil.rmtree(folder, onerror=lambda f, p, info: retry(f, p, info[1]))
