"""Drawing prompt and output lengths from their distributions."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np
import numpy.typing as npt

from sim.errors import ConfigError
from sim.workload.traffic.forms import Constant, Empirical, Gaussian, Length, LogNormal
from sim.workload.traffic.table import MAX_TOKENS


def sample_lengths(length: Length, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """`n` lengths in whole tokens, each at least 1."""
    _check(length)
    match length:
        case Constant():
            return np.full(n, length.tokens, dtype=np.int64)
        case Empirical():
            return rng.choice(np.array(length.tokens, dtype=np.int64), size=n, replace=True)
        case Gaussian():
            drawn = rng.normal(length.mean, length.std, size=n)
        case LogNormal():
            mu, sigma = _log_moments(length)
            drawn = np.exp(rng.normal(mu, sigma, size=n))
        case _:
            assert_never(length)
    return np.clip(np.rint(drawn), 1, MAX_TOKENS).astype(np.int64)


def _log_moments(length: LogNormal) -> tuple[float, float]:
    """Mean and standard deviation of the logarithm of the length."""
    variance = math.log1p((length.std / length.mean) ** 2)
    return math.log(length.mean) - variance / 2, math.sqrt(variance)


def _check(length: Length) -> None:
    match length:
        case Constant():
            if not 1 <= length.tokens <= MAX_TOKENS:
                raise ConfigError(f"a length of {length.tokens} tokens: at least 1 is due")
        case Empirical():
            if not length.tokens:
                raise ConfigError("an empirical length distribution without any length")
            if min(length.tokens) < 1:
                raise ConfigError(
                    f"an empirical length of {min(length.tokens)} tokens: at least 1 is due"
                )
        case Gaussian() | LogNormal():
            if not 0 < length.mean <= MAX_TOKENS:
                raise ConfigError(f"a mean length of {length.mean:g} tokens: more than 0 is due")
            if not 0 <= length.std <= MAX_TOKENS:
                raise ConfigError(
                    f"a standard deviation of {length.std:g} tokens: 0 or more is due"
                )
