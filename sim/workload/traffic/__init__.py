"""Request traffic: traces, arrival processes and length distributions."""

from sim.workload.traffic.forms import (
    Closed,
    Constant,
    Empirical,
    Gaussian,
    Length,
    LogNormal,
    Poisson,
    Trace,
    Traffic,
)

__all__ = [
    "Closed",
    "Constant",
    "Empirical",
    "Gaussian",
    "Length",
    "LogNormal",
    "Poisson",
    "Trace",
    "Traffic",
]
