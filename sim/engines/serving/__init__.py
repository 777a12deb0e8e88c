"""Event-driven serving: SimPy for what interacts, the compiled kernel for what advances."""

from sim.engines.serving.clients import serve_closed
from sim.engines.serving.fleet import serve_trace
from sim.engines.serving.outcome import Outcome
from sim.engines.serving.replica import Kind
from sim.engines.serving.requests import Requests

__all__ = ["Kind", "Outcome", "Requests", "serve_closed", "serve_trace"]
