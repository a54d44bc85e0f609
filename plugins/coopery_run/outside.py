"""What a run shows of itself outside: its run file, and to whoever detached it that it began."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery import run_files
from coopery.errors import MachineError, RecipeError

if TYPE_CHECKING:
    from coopery.commands import Context
    from coopery.steps import Event


class Outside:
    """Observes a run: writes its file when it has begun and when it has ended, and lets go."""

    def __init__(self, context: Context, caller: int | None) -> None:
        """`caller` is the descriptor on which whoever detached this process listens.

        Raises RecipeError (`not-writable`, `no-run-file`, `bad-option`) for a run file that
        cannot be written.
        """
        self._context = context
        self._caller = caller
        self._failed: MachineError | None = None
        self._file: str | None = context.arguments.output
        if self._file is not None and (found := run_files.refusal(self._file, "--output")):
            raise RecipeError(found)

    def __call__(self, events: Sequence[Event]) -> None:
        """Events happened.

        Raises MachineError where the run file cannot be written any more: at once when the run has
        begun, else when all else is told.
        """
        for event in events:
            if event.kind == "begun" and event.record is not None:
                self._write(event.record)
                self._let_go(event, event.record)
            elif event.kind == "concluding" and event.record is not None:
                # Before the record: who has waited for the run's end finds the file as it stays.
                try:
                    self._write(event.record)
                except MachineError as error:
                    self._failed = error
        self._context.plugins.observe(events, self._context.settings)
        if self._failed is not None and any(event.kind == "recorded" for event in events):
            raise self._failed

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        document = run_files.document_of(record, self._context.settings.home)
        said = run_files.write(self._file, document, "--output")
        if said is not None:
            self._context.tell(f"warning: {said}")

    def _let_go(self, event: Event, record: Mapping[str, Any]) -> None:
        """Tell whoever detached this process that the run has begun, and nothing from then on."""
        if self._caller is None or event.log is None:
            return
        from coopery_run.detaching import tell_caller

        _turn_to(event.log)
        tell_caller(self._caller, run_files.document_of(record, self._context.settings.home))
        self._caller = None


def _turn_to(log: Path) -> None:
    """From here on what this process prints goes to a file, whoever has closed what it was."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
