"""Score: how far predictions are from what was measured, group by group."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Split = Literal["calibrated", "zero-shot"]
GROUP: Final = ("device", "phase", "dtype", "split", "held_out")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Errors of the rows of one table that share device, phase, dtype and split.

    Errors are shares of the measured value: `bias` is the median signed one, `p10` and `p90` bound
    the middle 80 % of predicted over measured. `rank` is Spearman's correlation among options that
    a user chooses from, `regret` what the option predicted to be best loses against the best one;
    both are means over choices, None where there is no choice. `r2` is of the values themselves.
    `held_out` names what the constants hadn't seen: "devices", "shapes", or "" for what nothing
    was fitted on.
    """

    dataset: str
    table: str
    device: str
    phase: str
    dtype: str
    split: Split
    held_out: str
    n: int
    coverage: float
    median_ape: float
    mape: float
    p90_ape: float
    bias: float
    worst_ape: float
    low: float
    high: float
    r2: float | None
    rank: float | None
    regret: float | None

    def to_json(self) -> dict[str, Any]:
        """The group as plain values; null for errors of a group without predictions."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


def scored(dataset: str, table: str, rows: pd.DataFrame) -> Iterator[Group]:
    """Groups of `rows`: measured and predicted values, NaN predicted where a row is unsupported."""
    for key, group in rows.groupby(list(GROUP), sort=True, dropna=False):
        device, phase, dtype, split, held_out = (str(part) for part in key)
        able = group[np.isfinite(group["predicted"])]
        measured = able["measured"].to_numpy(float)
        predicted = able["predicted"].to_numpy(float)
        if len(able) == 0:
            measured = predicted = np.array([np.nan])
        errors = predicted / measured - 1.0
        size = np.abs(errors)
        low, high = np.quantile(predicted / measured, [0.1, 0.9])
        rank, regret, _ = ranking(able)
        yield Group(
            dataset=dataset,
            table=table,
            device=device,
            phase=phase,
            dtype=dtype,
            split="calibrated" if split == "calibrated" else "zero-shot",
            held_out=held_out,
            n=len(able),
            coverage=len(able) / len(group),
            median_ape=float(np.median(size)),
            mape=float(np.mean(size)),
            p90_ape=float(np.quantile(size, 0.9)),
            bias=float(np.median(errors)),
            worst_ape=float(np.max(size)),
            low=float(low),
            high=float(high),
            r2=determination(measured, predicted),
            rank=rank,
            regret=regret,
        )


def determination(measured: Floats, predicted: Floats) -> float | None:
    """R2: share of the variance of the measured values that predictions explain."""
    spread = float(np.sum((measured - measured.mean()) ** 2))
    if len(measured) < 3 or not spread > 0.0:
        return None
    return 1.0 - float(np.sum((measured - predicted) ** 2)) / spread


def ranking(rows: pd.DataFrame) -> tuple[float | None, float | None, int]:
    """Mean rank correlation, mean regret and number of choices of at least three options in `rows`.

    `choice` names the choice a row is an option of ("" for none), `better` is "low" or "high".
    """
    ranks, regrets = [], []
    for key, options in rows.groupby("choice"):
        if key == "" or len(options) < 3:
            continue
        sign = -1.0 if str(options["better"].iloc[0]) == "high" else 1.0
        measured = sign * options["measured"].to_numpy(float)
        predicted = sign * options["predicted"].to_numpy(float)
        correlation = spearman(measured, predicted)
        if correlation is not None:
            ranks.append(correlation)
        picked, best = abs(measured[np.argmin(predicted)]), abs(measured.min())
        regrets.append(best / picked - 1.0 if sign < 0 else picked / best - 1.0)
    mean_rank = float(np.mean(ranks)) if ranks else None
    return mean_rank, float(np.mean(regrets)) if regrets else None, len(regrets)


def spearman(a: Floats, b: Floats) -> float | None:
    """Spearman's rank correlation; None where one side is constant."""
    x, y = (pd.Series(side).rank().to_numpy(float) for side in (a, b))
    if np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return None
    return float(np.corrcoef(x, y)[0, 1])
