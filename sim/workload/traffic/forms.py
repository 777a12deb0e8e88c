"""Traffic as values: what arrives when, and how long it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sim.quantities import Amount, Positive
from sim.values import checked
from sim.workload.traffic.columns import PER_REQUEST


@dataclass(frozen=True, kw_only=True)
class Constant:
    """Every request has `tokens` tokens."""

    tokens: int


@checked
@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Normal length, rounded, never below one token."""

    mean: Positive
    """Tokens in the mean."""
    std: Amount
    """Standard deviation in tokens."""


@checked
@dataclass(frozen=True, kw_only=True)
class LogNormal:
    """Log-normal length with this mean and standard deviation (of the length, not its log)."""

    mean: Positive
    """Tokens in the mean."""
    std: Amount
    """Standard deviation in tokens."""


@dataclass(frozen=True, kw_only=True)
class Empirical:
    """Lengths drawn with replacement from observed ones."""

    tokens: tuple[int, ...]


Length = Constant | Gaussian | LogNormal | Empirical

Priorities = tuple[tuple[int, float], ...]
"""Classes and the share of requests in each; the smaller number is the more urgent, as in vLLM."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """What prompts consist of: request i has blocks `ids[starts[i] : starts[i + 1]]`, int64.

    Equal ids at the start of two prompts are equal text. A block has `tokens` tokens; the last one
    of a prompt may have fewer. With `answers` whole blocks of the answer follow the prompt's.
    """

    ids: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    tokens: int
    answers: bool = False

    def of(self, rows: slice | npt.NDArray[np.int64]) -> Blocks:
        """The blocks of some of the requests, which may come several times."""
        chosen = np.arange(len(self.starts) - 1)[rows].tolist()
        parts = [self.ids[self.starts[row] : self.starts[row + 1]] for row in chosen]
        sizes = [len(part) for part in parts]
        return replace(
            self,
            ids=np.concatenate([self.ids[:0], *parts]),
            starts=np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Follows:
    """Requests that wait for the answers of others: each arrives `think_s` after it has ended.

    `previous` [requests] is the row of the other one, -1 where there is none and the request
    arrives as the trace says. Where that is one of several answers it is the first, and all count.
    """

    previous: npt.NDArray[np.int64]
    think_s: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """A recorded or generated list of requests, sorted by arrival.

    Columns are arrays of one length: `arrival_s` float64 from 0, `input_tokens` and
    `output_tokens` int64, all token counts at least 1.
    """

    name: str
    arrival_s: npt.NDArray[np.float64]
    input_tokens: npt.NDArray[np.int64]
    output_tokens: npt.NDArray[np.int64]
    dropped: int = 0
    """Rows of the file that were not requests to serve (failed, zero output)."""
    blocks: Blocks | None = None
    """What the prompts consist of, where the trace says so."""
    priority: npt.NDArray[np.int64] | None = None
    """Class of each request, where the trace says so; the smaller number is the more urgent."""
    priorities: Priorities = ()
    """Classes to draw, where the trace says none."""
    tenant: npt.NDArray[np.int64] | None = None
    """Whose each request is, as a number of `names`, where the trace says so."""
    names: Mapping[str, tuple[str, ...]] | None = None
    """Of columns whose numbers stand for names: these."""
    follows: Follows | None = None
    """Who waits for whose answer; arrivals of those who wait are then what they are thought to be.
    """
    samples: int = 1
    """Answers that each prompt still has to be fanned out to: see `samples.fan_out`."""
    parent: npt.NDArray[np.int64] | None = None
    """The request, counted from 1, that each row answers, where some ask for several answers.

    Those to one request follow each other, and arrive at the same time.
    """

    def of(self, rows: slice | npt.NDArray[np.int64]) -> Trace:
        """Some of the requests, which then wait for nobody."""
        columns: dict[str, Any] = {name: values[rows] for name, values in self.columns()}
        return replace(
            self,
            follows=None,
            arrival_s=self.arrival_s[rows],
            input_tokens=self.input_tokens[rows],
            output_tokens=self.output_tokens[rows],
            blocks=None if self.blocks is None else self.blocks.of(rows),
            **columns,
        )

    def columns(self) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """Names and values of those of `PER_REQUEST` that there are."""
        for name in PER_REQUEST:
            if (values := getattr(self, name)) is not None:
                yield name, values


@dataclass(frozen=True, kw_only=True)
class Poisson:
    """Open loop: exponential gaps at `rate_per_s`."""

    rate_per_s: float
    requests: int
    input: Length
    output: Length
    priorities: Priorities = ()
    samples: int = 1


@dataclass(frozen=True, kw_only=True)
class Closed:
    """Closed loop: `concurrency` clients, each sends its next request when the last one ends.

    `start` "steady" begins with requests at random progress, as if it had run for long; "cold"
    sends `concurrency` fresh prompts at time zero. Of several `samples` all have to end.
    """

    concurrency: int
    requests: int
    input: Length
    output: Length
    start: Literal["steady", "cold"] = "steady"
    priorities: Priorities = ()
    samples: int = 1


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """Conversations that begin at `rate_per_s`, each of some `turns`: see `session_requests`.

    `shared` tokens come first in all of them, one of `templates` texts; `input` and `output` are
    of one turn. Between an answer, at `pace_s` a token, and the next message people think for
    `think_s` in the mean; where they `wait`, after the answer as it really ended. All turns of a
    session are of one of the `priorities`; it goes on from the first of several `samples`.
    """

    rate_per_s: float
    sessions: int
    turns: Length
    input: Length
    output: Length
    shared: int = 0
    templates: int = 1
    think_s: float = 30.0
    pace_s: float = 0.02
    wait: bool = False
    priorities: Priorities = ()
    samples: int = 1


Traffic = Trace | Poisson | Closed | Sessions
