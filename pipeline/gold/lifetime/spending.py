"""What customers spend on a day on which they buy: the Gamma-Gamma model, fitted by maximum likelihood.

What a customer spends on such a day varies around a mean of their own (gamma, shape p), and the means vary
over customers (inverse gamma, by q and gamma). So the mean of the few purchases that are known is drawn
towards that of all customers, the more the fewer they are.

Source: Fader and Hardie, "The Gamma-Gamma model of monetary value" (2013).
"""

from typing import Final, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

from pipeline.gold.lifetime.purchases import FEWEST_REPEATERS, Floats, NotFittedError

_LARGEST: Final = np.log(1e6)
"""Of a parameter's logarithm, in units in which the mean purchase is 1."""
_STARTS: Final = ((1.0, 2.0, 1.0), (5.0, 4.0, 1.0), (10.0, 10.0, 1.0))


class Spending(NamedTuple):
    """The parameters: p of a customer's purchases, q and gamma (money) of customers' means."""

    p: float
    q: float
    gamma: float

    def expected(self, repeats: Floats, mean: Floats) -> Floats:
        """Give what each customer is expected to spend on a day with a purchase.

        Args:
            repeats: days with a purchase whose mean is known; where it is 0, the mean does not count.
            mean: of what was spent on those days.
        """
        p, q, gamma = self
        known = np.where(repeats > 0, mean, 0.0)
        return np.asarray(p * (gamma + repeats * known) / (p * repeats + q - 1))

    def log_likelihood(self, repeats: Floats, mean: Floats) -> Floats:
        """Give the logarithm of the likelihood of each customer's mean; both arguments are above 0."""
        p, q, gamma = self
        px = p * repeats
        return np.asarray(
            gammaln(px + q)
            - gammaln(px)
            - gammaln(q)
            + q * np.log(gamma)
            + (px - 1) * np.log(mean)
            + px * np.log(repeats)
            - (px + q) * np.log(gamma + repeats * mean)
        )


def fit(repeats: Floats, mean: Floats) -> Spending:
    """Find the parameters under which customers' means are likeliest; those without any are left out.

    Raises:
        NotFittedError: too few customers have bought again, or no maximum was found under which customers
            have a mean at all (q above 1).
    """
    known = (repeats > 0) & (mean > 0)
    repeats, mean = repeats[known], mean[known]
    if len(mean) < FEWEST_REPEATERS:
        raise NotFittedError(
            f"{len(mean)} customers have bought again for money, at least {FEWEST_REPEATERS} are needed"
        )
    unit = float(mean.mean())

    def cost(logarithms: Floats) -> float:
        p, q, gamma = np.exp(logarithms)
        # The mean of customers' means exists only for q above 1: it is sought there alone.
        return float(-Spending(p, 1 + q, gamma).log_likelihood(repeats, mean / unit).mean())

    bounds = [(-_LARGEST, _LARGEST)] * 3
    found = [minimize(cost, np.log(start), method="L-BFGS-B", bounds=bounds) for start in _STARTS]
    best = min(found, key=lambda one: float(one.fun))
    if not best.success or not np.isfinite(best.fun):
        raise NotFittedError(f"no maximum of the likelihood was found: {best.message}")
    p, q, gamma = np.exp(best.x).tolist()
    return Spending(p, 1 + q, gamma * unit)
