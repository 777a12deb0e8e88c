"""Request traffic: traces, arrival processes and length distributions."""

from sim.workload.traffic.forms import (
    Blocks,
    Closed,
    Constant,
    Empirical,
    Follows,
    Gaussian,
    Length,
    LogNormal,
    Poisson,
    Priorities,
    Sessions,
    Trace,
    Traffic,
)

__all__ = [
    "Blocks",
    "Closed",
    "Constant",
    "Empirical",
    "Follows",
    "Gaussian",
    "Length",
    "LogNormal",
    "Poisson",
    "Priorities",
    "Sessions",
    "Trace",
    "Traffic",
]
