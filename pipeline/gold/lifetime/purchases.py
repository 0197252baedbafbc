"""How often customers buy, and whether they still do: the MBG/NBD model, fitted by maximum likelihood.

While alive, a customer buys at random with a rate of their own; rates are gamma distributed over customers
(shape r, rate alpha). After each purchase, the first included, they stop for good with a probability of their
own, beta distributed (a, b). So one-time buyers may have stopped too, which the BG/NBD model rules out.

Sources: Batislam, Denizel and Filiztekin, "Empirical validation and comparison of models for customer base
analysis", IJRM 24 (2007); Wagner and Hoppe, "Erratum on the MBG/NBD model", IJRM 25 (2008). The summary of a
customer (x, t_x, T) is that of Fader, Hardie and Lee, "Counting your customers the easy way", Marketing
Science 24 (2005).
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, expit, gammaln, hyp2f1

Floats = NDArray[np.float64]

YEAR_DAYS: Final = 365.0
FEWEST_REPEATERS: Final = 30
"""Customers with a repeat that a fit needs: with fewer, parameters say little more than chance does."""
_LARGEST: Final = np.log(1e6)
"""Of a parameter's logarithm, in units in which the longest age is 10."""
_STARTS: Final = ((1.0, 1.0, 0.5, 2.0), (0.3, 0.5, 0.3, 0.5), (2.0, 5.0, 1.0, 5.0))


class NotFittedError(Exception):
    """There is too little to fit, or no maximum was found."""


@dataclass(frozen=True)
class History:
    """What customers with a first purchase have done; arrays of one length, times in days.

    Args:
        repeats: days with a purchase after the first one (x).
        last: from the first to the last of them (t_x), 0 without any.
        age: from the first to now (T), at least `last`.
    """

    repeats: Floats
    last: Floats
    age: Floats

    def __len__(self) -> int:
        """Give the number of customers."""
        return len(self.repeats)


class Purchasing(NamedTuple):
    """The parameters: r and alpha (days) of rates, a and b of stopping."""

    r: float
    alpha: float
    a: float
    b: float

    def p_alive(self, history: History) -> Floats:
        """Give the probability that each customer has not stopped."""
        return np.asarray(expit(-self._log_odds_of_stopped(history)))

    def expected(self, history: History, days: float) -> Floats:
        """Give on how many of the next `days` each customer is expected to buy."""
        r, alpha, b = self.r, self.alpha, self.b
        # The formula divides by a - 1, and is smooth there.
        a = self.a if abs(self.a - 1) > 1e-6 else 1 + 1e-6  # noqa: PLR2004
        x, known = history.repeats, alpha + history.age
        # The published formula has (1 - z)^(r + x) F(r + x, b + x + 1; a + b + x; z), which is too large for
        # many repeats; this is the same by Euler's transformation.
        still = (known / (known + days)) ** (a - 1) * hyp2f1(
            a + b - r, a - 1, a + b + x, days / (known + days)
        )
        return np.asarray((a + b + x) / (a - 1) * (1 - still) * self.p_alive(history))

    def log_likelihood(self, history: History) -> Floats:
        """Give the logarithm of the likelihood of what each customer has done."""
        r, alpha, a, b = self
        x, age = history.repeats, history.age
        rate = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - (r + x) * np.log(alpha + age)
        stopping = betaln(a, b + x + 1) - betaln(a, b)
        return np.asarray(rate + stopping + np.logaddexp(0, self._log_odds_of_stopped(history)))

    def _log_odds_of_stopped(self, history: History) -> Floats:
        r, alpha, a, b = self
        x = history.repeats
        waited = np.log(alpha + history.age) - np.log(alpha + history.last)
        return np.asarray(np.log(a) - np.log(b + x) + (r + x) * waited)


def fit(history: History) -> Purchasing:
    """Find the parameters under which what customers have done is likeliest.

    Raises:
        NotFittedError: too few customers have bought again, or no maximum was found.
    """
    repeaters = int(np.count_nonzero(history.repeats))
    if repeaters < FEWEST_REPEATERS:
        raise NotFittedError(
            f"{repeaters} customers have bought again, at least {FEWEST_REPEATERS} are needed"
        )
    unit = float(history.age.max()) / 10
    rows, counts = np.unique(
        np.stack([history.repeats, history.last / unit, history.age / unit]), axis=1, return_counts=True
    )
    grouped = History(*rows)

    def cost(logarithms: Floats) -> float:
        likely = Purchasing(*np.exp(logarithms)).log_likelihood(grouped)
        return float(-(counts * likely).sum() / len(history))

    bounds = [(-_LARGEST, _LARGEST)] * 4
    found = [minimize(cost, np.log(start), method="L-BFGS-B", bounds=bounds) for start in _STARTS]
    best = min(found, key=lambda one: float(one.fun))
    if not best.success or not np.isfinite(best.fun):
        raise NotFittedError(f"no maximum of the likelihood was found: {best.message}")
    r, alpha, a, b = np.exp(best.x).tolist()
    fitted = Purchasing(r, alpha * unit, a, b)
    if not np.isfinite(fitted.expected(history, YEAR_DAYS)).all():
        raise NotFittedError("customers are too much alike: no parameters fit best")
    return fitted
