"""Event-driven serving: SimPy for what interacts, the compiled kernel for what advances."""

from sim.engines.serving.engine import Engine, Outcome
from sim.engines.serving.simulation import serve_closed, serve_trace

__all__ = ["Engine", "Outcome", "serve_closed", "serve_trace"]
