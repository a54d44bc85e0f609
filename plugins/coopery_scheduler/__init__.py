"""The builtin scheduler: threads of this process, each step the moment its needs have succeeded."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from coopery.hooks import hookimpl

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from coopery.steps import Execution


@hookimpl(trylast=True)
def schedule(execution: Execution) -> bool:
    """Drive a plan with at most `execution.jobs` steps performed at a time (O4)."""
    # Imported where a plan is driven, for it takes long: it brings in `logging`.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(execution.jobs, thread_name_prefix="step") as pool:
        try:
            _drive(execution, pool)
        except BaseException:
            # Leaving the pool waits for its threads, so what they run must be told to stop first.
            execution.cancel()
            raise
    return True


def _drive(execution: Execution, pool: ThreadPoolExecutor) -> None:
    from concurrent.futures import FIRST_COMPLETED, wait

    waiting = {name: len(needs) for name, needs in execution.needs.items()}
    readers: dict[str, list[str]] = {name: [] for name in waiting}
    for name, needs in execution.needs.items():
        for need in needs:
            readers[need].append(name)
    undecided = [name for name, count in waiting.items() if count == 0]
    to_perform: deque[str] = deque()
    running: dict[Future[bool], str] = {}

    def succeeded(name: str) -> None:
        for reader in readers[name]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                undecided.append(reader)

    while undecided or to_perform or running:
        if undecided and not execution.stopping:
            # All that is ready is decided in one batch; what that makes ready is the next.
            batch, undecided[:] = list(undecided), []
            for name, done in execution.decide(batch).items():
                if done:
                    succeeded(name)
                else:
                    to_perform.append(name)
            if undecided:
                continue
        while to_perform and len(running) < execution.jobs and not execution.stopping:
            name = to_perform.popleft()
            running[pool.submit(execution.perform, name)] = name
        if not running:
            if execution.stopping:
                return
            continue
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            name = running.pop(future)
            if future.result():
                succeeded(name)
            else:
                execution.give_up(name)
