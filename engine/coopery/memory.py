"""What a recipe's steps last came to, and what a run adds to that."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from coopery.steps import Identity, Record, Step, Store, Success


class Memory:
    """The memory as one run of one recipe sees it: recalls, and commits in groups.

    Every success is noted as the latest of its step (semantics 6), a recalled one too; those that
    were the latest already cost nothing.
    """

    def __init__(self, store: Store, recipe: Path, run: str = "") -> None:
        self._store = store
        self._recipe = str(recipe)
        self._run = run
        self._known: Mapping[str, Success] | None = None
        self._lock = threading.Lock()
        self._committing = threading.Lock()
        self._records: list[Record] = []
        self._successes: list[Success] = []

    def latest(self, step: str) -> Record | None:
        """What the step's latest success came to before this run; None too when it is lost."""
        success = self._latest().get(step)
        return self._store.recall([success.key]).get(success.key) if success else None

    def _latest(self) -> Mapping[str, Success]:
        if self._known is None:
            self._known = self._store.latest(self._recipe)
        return self._known

    def note(self, step: Step, key: str, outputs: Mapping[str, Identity]) -> None:
        """A step succeeded; committed with the next record, or by `flush`."""
        keeps = tuple(
            sorted(
                {
                    identity.digest
                    for output, identity in outputs.items()
                    if output not in step.transient and identity.kind != "place"
                }
            )
        )
        known = self._latest().get(step.name)
        if known is not None and known.key == key and known.keeps == keeps:
            return
        success = Success(recipe=self._recipe, step=step.name, key=key, keeps=keeps, run=self._run)
        with self._lock:
            self._successes.append(success)

    def remember(self, step: Step, record: Record) -> None:
        """Commit a record, together with what other threads have ready: one commit for all."""
        self.note(step, record.key, record.outputs)
        with self._lock:
            self._records.append(record)
        self.flush()

    def flush(self) -> None:
        """Commit what is pending; returns when all that was pending before is committed."""
        with self._committing:
            with self._lock:
                records, self._records = self._records, []
                successes, self._successes = self._successes, []
            if not (records or successes):
                return
            try:
                self._store.remember(records, successes)
            except BaseException:
                # Other threads' are among them: these must not take them for committed.
                with self._lock:
                    self._records[:0] = records
                    self._successes[:0] = successes
                raise
