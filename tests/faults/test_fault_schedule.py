from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from streams.failpoints import NAMES
from tests.faults.catalogue import all_faults, short_faults
from tests.faults.inputs import ProducerDies
from tests.faults.kills import KillAt, RandomKills
from tests.faults.schedule import strikes

TARGETS = ("a", "b", "c")


@given(st.integers(), st.integers(0, 60))
def test_a_seed_gives_the_same_strikes_again_and_each_target_its_share(seed: int, count: int) -> None:
    drawn = list(strikes(seed, count, TARGETS, every_seconds=(1, 3)))
    assert drawn == list(strikes(seed, count, TARGETS, every_seconds=(1, 3)))
    assert len(drawn) == count
    shares = Counter(strike.target for strike in drawn)
    assert max(shares.values(), default=0) - min((shares[target] for target in TARGETS), default=0) <= 1
    assert all(1 <= strike.after_seconds <= 3 for strike in drawn)


def test_other_seeds_give_other_strikes() -> None:
    first, second = (list(strikes(seed, 20, TARGETS, every_seconds=(0, 9))) for seed in (1, 2))
    assert first != second


def test_the_sweep_kills_at_every_failpoint() -> None:
    swept = {
        point
        for fault in all_faults(300)
        if isinstance(fault, KillAt | ProducerDies) and not fault.must_be_found
        for point in fault.points
    }
    assert swept == set(NAMES)


def test_the_soak_has_as_many_kills_as_asked_for_and_names_are_told_apart() -> None:
    faults = all_faults(300)
    assert sum(fault.kills for fault in faults if isinstance(fault, RandomKills)) == 300
    for listed in (faults, short_faults()):
        assert max(Counter(fault.name for fault in listed).values()) == 1
