"""Do drawn lengths follow their distribution?"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from sim.errors import ConfigError
from sim.workload.traffic import Constant, Empirical, Gaussian, Length, LogNormal
from sim.workload.traffic.lengths import sample_lengths

N = 40_000

FORMS: list[Length] = [
    Constant(tokens=512),
    Gaussian(mean=512, std=100),
    Gaussian(mean=20, std=40),
    Gaussian(mean=512.4, std=0),
    LogNormal(mean=512, std=700),
    LogNormal(mean=3, std=9),
    LogNormal(mean=0.25, std=0.1),
    LogNormal(mean=700, std=0),
    Empirical(tokens=(1, 5, 5, 9, 2000)),
]


ONE_TOKEN = 1.5
"""A draw below becomes one token: by rounding, or because no request has less."""


def mean_length(length: Length) -> float:
    """Expected number of tokens of a draw, with the floor of one token."""
    match length:
        case Constant():
            return float(length.tokens)
        case Empirical():
            return math.fsum(length.tokens) / len(length.tokens)
        case Gaussian():
            if length.std == 0:
                return float(max(1, round(length.mean)))
            below = (ONE_TOKEN - length.mean) / length.std
            normal = NormalDist()
            short = normal.cdf(below)
            return short + length.mean * (1 - short) + length.std * normal.pdf(below)
        case LogNormal():
            if length.std == 0:
                return float(max(1, round(length.mean)))
            sigma = math.sqrt(math.log1p((length.std / length.mean) ** 2))
            mu = math.log(length.mean) - sigma**2 / 2
            below = (math.log(ONE_TOKEN) - mu) / sigma
            normal = NormalDist()
            return normal.cdf(below) + length.mean * normal.cdf(sigma - below)


@pytest.mark.parametrize("length", FORMS, ids=repr)
def test_draws_are_whole_tokens_with_the_mean_that_is_promised(length: Length) -> None:
    drawn = sample_lengths(length, N, np.random.default_rng(3))
    assert drawn.dtype == np.int64
    assert drawn.shape == (N,)
    assert drawn.min() >= 1
    # Four standard errors, and what rounding may do to the mean of a narrow distribution.
    assert drawn.mean() == pytest.approx(
        mean_length(length), abs=4 * drawn.std() / np.sqrt(N) + 0.05
    )


def test_parameters_are_moments_of_the_length_itself() -> None:
    for length in (Gaussian(mean=512, std=100), LogNormal(mean=512, std=100)):
        drawn = sample_lengths(length, N, np.random.default_rng(4))
        assert mean_length(length) == pytest.approx(512, rel=1e-6)
        # Relative standard error of a standard deviation is about sqrt((kurtosis - 1) / 4n).
        assert drawn.std() == pytest.approx(100, rel=4 * np.sqrt(3 / (4 * N)))


def test_lognormal_is_skewed_and_gaussian_is_not() -> None:
    gauss = sample_lengths(Gaussian(mean=1000, std=200), N, np.random.default_rng(5))
    skewed = sample_lengths(LogNormal(mean=1000, std=1000), N, np.random.default_rng(5))
    assert np.median(gauss) == pytest.approx(1000, abs=8)
    # The median of a log-normal is its mean over sqrt(1 + cv^2).
    assert np.median(skewed) == pytest.approx(1000 / np.sqrt(2), rel=0.02)


def test_empirical_draws_only_what_was_observed() -> None:
    drawn = sample_lengths(Empirical(tokens=(3, 7, 7, 7)), N, np.random.default_rng(6))
    assert set(drawn.tolist()) == {3, 7}
    assert (drawn == 7).mean() == pytest.approx(0.75, abs=4 * np.sqrt(0.1875 / N))


@pytest.mark.parametrize("length", FORMS, ids=repr)
def test_equal_seeds_give_equal_draws(length: Length) -> None:
    first, second = (sample_lengths(length, 50, np.random.default_rng(8)) for _ in range(2))
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize(
    ("form", "parameters"),
    [
        (Constant, {"tokens": 0}),
        (Gaussian, {"mean": 0, "std": 1}),
        (Gaussian, {"mean": float("nan"), "std": 1}),
        (Gaussian, {"mean": 5, "std": -1}),
        (LogNormal, {"mean": -1, "std": 1}),
        (LogNormal, {"mean": 1, "std": float("inf")}),
        (Empirical, {"tokens": ()}),
        (Empirical, {"tokens": (4, 0)}),
    ],
    ids=repr,
)
def test_impossible_parameters(form: type[Length], parameters: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        sample_lengths(form(**parameters), 1, np.random.default_rng(0))
