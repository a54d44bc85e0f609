"""The builtin scheduler does what every scheduler must."""

from __future__ import annotations

import coopery_scheduler
from coopery.steps import Execution
from coopery.testing.suites import SchedulerSuite


class TestThreads(SchedulerSuite):
    """The plugin `scheduler`."""

    def schedule(self, execution: Execution) -> bool:
        return coopery_scheduler.schedule(execution)
