"""A plain SimPy serving loop: Python decides and yields every iteration, the kernel times it."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Any

import reference_serving
import simpy
from reference import Machine, machine

from sim.engines import roofline
from sim.engines.roofline import Batch
from sim.engines.scheduler import Scheduler
from sim.mapping.program import Program
from sim.workload.traffic import Trace


class Timed(Machine):
    """The plain machine, with iterations timed by the compiled kernel."""

    program: Program

    def iteration(
        self,
        prompts: list[tuple[int, int, int, int]],
        decodes: list[tuple[int, int]],
        group: set[int] | None = None,
    ) -> tuple[float, float, list[Any]]:
        assert group is None, "all layers pass in one step"
        batch = Batch(
            prompts=tuple(entry[:3] for entry in prompts),
            decodes=tuple((prompt, context - prompt) for prompt, context in decodes),
        )
        step = roofline.step(self.program, batch)
        return step.seconds, step.joules, []


def serve(
    program: Program, scheduler: Scheduler, kv_B: float, trace: Trace
) -> reference_serving.Server:
    """The server after `trace`, having yielded to SimPy after every iteration."""
    plain = Timed(**vars(machine(program)))
    plain.program = program
    queue = deque(
        reference_serving.Sequence(
            arrival=float(arrival), prompt=int(prompt), output=int(output), goal=int(prompt)
        )
        for arrival, prompt, output in zip(
            trace.arrival_s, trace.input_tokens, trace.output_tokens, strict=True
        )
    )
    server = reference_serving.Server(plain=plain, scheduler=scheduler, capacity=kv_B, queue=queue)
    env = simpy.Environment()

    def run() -> Generator[simpy.Event, Any, None]:
        while server.advance():
            yield env.timeout(server.now - env.now)

    env.process(run())
    env.run()
    return server
