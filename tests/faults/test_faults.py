"""A few faults of each kind in a whole pipeline; all of them: `make faults`."""

import pytest

from streams.failpoints import NAMES
from tests.faults.catalogue import short_faults
from tests.faults.run import Run, run_faults

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

SEED = 1
FAULTS = short_faults()


@pytest.fixture(scope="module")
def done() -> Run:
    return run_faults(FAULTS, SEED, say=print)


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS if not fault.must_be_found])
def test_nothing_is_lost_doubled_or_differs_after(done: Run, name: str) -> None:
    (row,) = (row for row in done.rows if row.fault == name)
    assert not row.error, row.error
    assert row.hits
    assert row.verdict.is_clean, row.verdict.examples


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS if fault.must_be_found])
def test_what_is_broken_on_purpose_is_found(done: Run, name: str) -> None:
    (row,) = (row for row in done.rows if row.fault == name)
    assert not row.error, row.error
    assert row.hits
    assert row.verdict.lost or row.verdict.doubled or row.verdict.differing


def test_every_failpoint_is_passed(done: Run) -> None:
    assert done.passed == set(NAMES)
