"""Models of customers' worth recover what simulated customers were made with, and foresee what they do."""

import numpy as np
import pytest
from numpy.random import Generator, default_rng

from pipeline.gold.lifetime import purchases, spending
from pipeline.gold.lifetime.holdout import OrderDays, hold_out
from pipeline.gold.lifetime.purchases import Floats, History, NotFittedError, Purchasing
from pipeline.gold.lifetime.spending import Spending

TRUE = Purchasing(r=0.8, alpha=40.0, a=0.7, b=2.5)
TRUE_SPENDING = Spending(p=6.0, q=4.0, gamma=30.0)


Simulated = tuple[History, Floats, Floats]
"""What customers did, who is alive at the end of it, and how often they buy after it."""


def simulate(true: Purchasing, ages: Floats, days: float, random: Generator) -> Simulated:
    """Let customers live as the model says, and `days` longer."""
    rates = random.gamma(true.r, 1 / true.alpha, len(ages))
    stopping = random.beta(true.a, true.b, len(ages))
    repeats, last, alive, after = (np.zeros(len(ages)) for _ in range(4))
    for n, (rate, stop, age) in enumerate(zip(rates, stopping, ages, strict=True)):
        now, living = 0.0, random.random() > stop
        alive[n] = living
        while living:
            now += random.exponential(1 / rate)
            if now > age + days:
                break
            living = random.random() > stop
            if now <= age:
                repeats[n], last[n], alive[n] = repeats[n] + 1, now, living
            else:
                after[n] += 1
    return History(repeats, last, ages), alive, after


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    random = default_rng(7)
    return simulate(TRUE, random.uniform(60, 720, 20_000), 365.0, random)


def test_the_fit_recovers_the_parameters_that_customers_were_made_with(
    simulated: Simulated,
) -> None:
    found = purchases.fit(simulated[0])
    # Rates and stopping as means, which are sharper than the parameters they are made of.
    assert found.r / found.alpha == pytest.approx(TRUE.r / TRUE.alpha, rel=0.05)
    assert found.a / (found.a + found.b) == pytest.approx(TRUE.a / (TRUE.a + TRUE.b), rel=0.1)
    assert found == pytest.approx(TRUE, rel=0.2)


def test_who_is_alive_and_what_they_buy_is_as_often_as_foreseen(
    simulated: Simulated,
) -> None:
    history, alive, after = simulated
    chances, expected = TRUE.p_alive(history), TRUE.expected(history, 365.0)
    for low in np.arange(0, 1, 0.1):
        among = (chances >= low) & (chances < low + 0.1)
        if among.sum() > 200:
            spread = 4 * np.sqrt(0.25 / among.sum())
            assert alive[among].mean() == pytest.approx(chances[among].mean(), abs=spread)
    order = np.argsort(expected)
    for part in np.array_split(order, 5):
        spread = 4 * after[part].std() / np.sqrt(len(part))
        assert after[part].mean() == pytest.approx(expected[part].mean(), abs=spread)


def test_the_likelihood_of_all_that_can_happen_is_one() -> None:
    # One customer of age T: none again (likelihood of x = 0), or a last repeat at t_x: summed over x, the
    # density of the last repeat integrates, with the order statistics of those before it, to the rest.
    age, steps, most = 50.0, 400, 60
    middles = (np.arange(steps) + 0.5) * age / steps
    total = float(np.exp(TRUE.log_likelihood(History(*(np.array([v]) for v in (0.0, 0.0, age)))))[0])
    for x in range(1, most):
        history = History(np.full(steps, float(x)), middles, np.full(steps, age))
        # Repeats before the last one may lie anywhere before it: t^(x-1) / (x-1)! ways.
        ways = np.exp((x - 1) * np.log(middles) - np.sum(np.log(np.arange(1, x))))
        total += float((np.exp(TRUE.log_likelihood(history)) * ways).sum() * age / steps)
    assert total == pytest.approx(1, abs=1e-3)


def test_who_has_bought_lately_and_often_is_rather_alive() -> None:
    history = History(np.array([0.0, 3.0, 3.0, 30.0]), np.array([0.0, 20.0, 350.0, 20.0]), np.full(4, 360.0))
    once, early, lately, often_then_silent = TRUE.p_alive(history)
    assert often_then_silent < early < lately
    assert 0 < once < 1
    assert often_then_silent < 0.01


def test_expectations_are_smooth_where_the_formula_divides_by_zero() -> None:
    history = History(np.array([2.0]), np.array([50.0]), np.array([100.0]))
    at_one, beside = (
        float(Purchasing(0.8, 40, a, 2.5).expected(history, 365.0)[0]) for a in (1.0, 1.0 + 1e-4)
    )
    assert at_one == pytest.approx(beside, rel=1e-3)


def test_who_has_bought_very_often_can_be_foreseen_too() -> None:
    """The function of the published formula is beyond the largest number there."""
    repeats = np.array([0.0, 10.0, 1_000.0, 5_000.0])
    history = History(repeats, np.array([0.0, 3_000.0, 3_640.0, 3_649.0]), np.full(4, 3_650.0))
    expected = TRUE.expected(history, 365.0)
    assert np.isfinite(expected).all()
    # A tenth of the time to come, by customers who hardly stop any more.
    assert expected[2:] == pytest.approx(repeats[2:] / 10 * TRUE.p_alive(history)[2:], rel=0.06)


def test_too_few_who_bought_again_are_not_fitted() -> None:
    repeats = np.zeros(1000)
    repeats[:29] = 1
    with pytest.raises(NotFittedError, match="29 customers have bought again, at least 30 are needed"):
        purchases.fit(History(repeats, repeats * 10, np.full(1000, 100.0)))
    with pytest.raises(NotFittedError, match="29 customers have bought again for money"):
        spending.fit(repeats, repeats * 20)


def test_customers_who_all_do_the_same_are_not_fitted() -> None:
    history = History(np.full(500, 2.0), np.full(500, 60.0), np.full(500, 90.0))
    with pytest.raises(NotFittedError, match="too much alike"):
        purchases.fit(history)


def test_spending_recovers_the_parameters_and_draws_means_of_few_towards_that_of_all() -> None:
    random = default_rng(11)
    count = 20_000
    repeats = random.integers(1, 8, count).astype(float)
    rates = random.gamma(TRUE_SPENDING.q, 1 / TRUE_SPENDING.gamma, count)
    mean = random.gamma(TRUE_SPENDING.p * repeats, 1 / rates) / repeats
    found = spending.fit(repeats, mean)
    of_all = TRUE_SPENDING.p * TRUE_SPENDING.gamma / (TRUE_SPENDING.q - 1)
    assert found == pytest.approx(TRUE_SPENDING, rel=0.15)
    nobody, once, often = found.expected(np.array([0.0, 1.0, 50.0]), np.array([0.0, 300.0, 300.0]))
    assert nobody == pytest.approx(of_all, rel=0.05)
    assert of_all < once < often < 300


def test_order_days_give_each_customers_history_up_to_a_day() -> None:
    orders = OrderDays(np.array([7, 3, 7, 7, 9]), np.array([110, 100, 100, 130, 140]))
    customers, history = orders.until(131).history(today=131)
    assert customers.tolist() == [3, 7]
    assert history.repeats.tolist() == [0, 2]
    assert history.last.tolist() == [0, 30]
    assert history.age.tolist() == [31, 31]


def test_what_is_held_back_comes_about_as_foreseen() -> None:
    random = default_rng(3)
    joined = random.integers(0, 500, 8_000)
    customer, day = [], []
    rates = random.gamma(TRUE.r, 1 / TRUE.alpha, len(joined))
    stopping = random.beta(TRUE.a, TRUE.b, len(joined))
    for number, (start, rate, stop) in enumerate(zip(joined, rates, stopping, strict=True)):
        now, days = float(start), {int(start)}
        while random.random() > stop and (now := now + random.exponential(1 / rate)) < 800:
            days.add(int(now))
        customer += [number] * len(days)
        day += sorted(days)
    found = hold_out(OrderDays(np.array(customer), np.array(day)), today=800)
    assert found is not None
    assert found.days == 200
    assert found.customers == 8_000
    assert found.expected == pytest.approx(found.actual, rel=0.1)
    assert found.error < found.actual / found.customers * 1.5


def test_a_short_history_is_not_held_back() -> None:
    assert hold_out(OrderDays(np.array([1, 2]), np.array([0, 50])), today=111) is None
    assert hold_out(OrderDays(np.array([], int), np.array([], int)), today=111) is None


def test_the_worked_example_of_the_documentation() -> None:
    # three more order days, the last 60 days after the first, seen 90 and 400 days after it
    history = History(np.array([3.0, 3.0]), np.array([60.0, 60.0]), np.array([90.0, 400.0]))
    assert TRUE.p_alive(history) == pytest.approx([0.74, 0.03], abs=0.005)
    assert TRUE.expected(history, 365.0) == pytest.approx([5.3, 0.07], abs=0.005)
    values = TRUE_SPENDING.expected(np.array([3.0, 0.0]), np.array([90.0, 0.0]))
    assert values == pytest.approx([6 * (30 + 3 * 90) / (6 * 3 + 4 - 1), 6 * 30 / (4 - 1)])
