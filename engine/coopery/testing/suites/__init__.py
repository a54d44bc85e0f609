"""Conformance suites: what every runtime, scheduler and store must do, ours or not.

Inherit one in a test module and say what is tested:

from coopery.testing.suites import StoreSuite

class TestMyStore(StoreSuite):
    def open_store(self, home):
        return MyStore(home)

They need pytest, which coopery itself does not.
"""

from __future__ import annotations

import pytest

# So that a failing assertion in a suite shows its values, as one in a test module does.
MODULES = (
    *("records", "objects", "sharing", "storing", "schedulers"),
    *("runtimes", "channels", "lasting", "tasking"),
)
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in MODULES))

from coopery.testing.suites.objects import ObjectsSuite  # noqa: E402
from coopery.testing.suites.records import RecordsSuite  # noqa: E402
from coopery.testing.suites.runtimes import RuntimeSuite  # noqa: E402
from coopery.testing.suites.schedulers import SchedulerSuite  # noqa: E402
from coopery.testing.suites.sharing import SharingSuite  # noqa: E402


class StoreSuite(RecordsSuite, ObjectsSuite, SharingSuite):
    """What `coopery.steps.Store` promises. Say how to open one: `open_store(home)`."""


__all__ = ["RuntimeSuite", "SchedulerSuite", "StoreSuite"]
