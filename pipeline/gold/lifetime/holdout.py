"""Days on which customers bought, and how well a model foresees the last of them."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.gold.lifetime import purchases
from pipeline.gold.lifetime.purchases import Floats, History

Integers = NDArray[np.int64]

HELD_BACK: Final = 0.25
"""Of the time since the first purchase of all."""
FEWEST_DAYS: Final = 28
"""That are held back, else there is no figure: weeks differ."""


@dataclass(frozen=True)
class OrderDays:
    """Days with a purchase, each once for a customer; both of one length, in any order.

    Args:
        customer: number of the customer.
        day: number of the day, counted from anywhere.
    """

    customer: Integers
    day: Integers

    def until(self, day: int) -> "OrderDays":
        """Give those before a day."""
        return OrderDays(self.customer[self.day < day], self.day[self.day < day])

    def history(self, today: int) -> tuple[Integers, History]:
        """Give the customers, in order of their numbers, and what each has done up to a day."""
        customers, which = np.unique(self.customer, return_inverse=True)
        first = np.full(len(customers), np.iinfo(np.int64).max)
        last = np.full(len(customers), np.iinfo(np.int64).min)
        np.minimum.at(first, which, self.day)
        np.maximum.at(last, which, self.day)
        repeats = np.bincount(which, minlength=len(customers)) - 1
        return customers, History(
            repeats.astype(float), (last - first).astype(float), (today - first).astype(float)
        )


class Holdout(NamedTuple):
    """How a model, fitted to what came before, foresaw the last days.

    `expected` and `actual` are days with a purchase, of all customers together; `error` is the mean absolute
    difference for a customer.
    """

    days: int
    customers: int
    expected: float
    actual: int
    error: float


def hold_out(orders: OrderDays, today: int) -> Holdout | None:
    """Fit to all but the last quarter of the time, and compare it with what is foreseen.

    Returns:
        None where that quarter is shorter than four weeks.

    Raises:
        NotFittedError: there is too little to fit before it.
    """
    if not len(orders.day):
        return None
    days = int((today - int(orders.day.min())) * HELD_BACK)
    if days < FEWEST_DAYS:
        return None
    customers, history = orders.until(today - days).history(today - days)
    foreseen = purchases.fit(history).expected(history, float(days))
    after = orders.customer[(orders.day >= today - days) & (orders.day < today)]
    known = after[np.isin(after, customers)]
    actual: Floats = np.bincount(np.searchsorted(customers, known), minlength=len(customers)).astype(float)
    error = float(np.abs(actual - foreseen).mean())
    return Holdout(days, len(customers), float(foreseen.sum()), int(actual.sum()), error)
