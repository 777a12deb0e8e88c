"""Load: what an error of service times does to latency and throughput where requests queue.

Let all service times be `scale` times as long while requests arrive as they do.

- A step that decodes B sequences takes T = a + b B + (what prompts that come in meanwhile add),
  b the slope at B. By Little's law B is arrivals x tokens x T, so T = a / (1 - r), where r is the
  share of a step that grows with load: an error e of times becomes e / (1 - r) of a step.
- Something limits a step: M sequences of its batch, or its budget of prompt tokens. A share x of
  the tighter one is used, and the system is 1 - (1 - r)(1 - x) full: rho, arrivals over the most it
  can serve. Waits go as scale x (1 - rho) / (1 - rho x scale), as in a queue with one server; that
  factor is capped, because a run that ends has no steady state to diverge to.
- Beyond saturation the queue grows as long as requests arrive: waits are in proportion to
  rho x scale - 1, and the run lasts rho x scale times as long as arrivals do.

In a closed loop clients wait for answers: every time scales alike, and nothing is amplified.
`tests/agreement/test_bands_and_reruns.py` compares this with running again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sim.engines.roofline import decode_batch, step
from sim.engines.serving.replica import policy_record
from sim.kernel import sequences
from sim.kernel.records import DONE
from sim.results.cautions import overloaded
from sim.simulation.outcomes import Outcomes, ReplicaGroup
from sim.simulation.prepare import Prepared
from sim.workload.traffic import Closed

MOST: Final = 10.0
"""Cap of what load makes of an error."""
STEEP: Final = 4
"""The slope of a step is taken over this part of the batch more."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How loaded a run was. Times in seconds.

    `growing` is the share r of a step that load adds, `used` the share x of its limit. Requests
    arrive for `span_s` and wait `wait_s` of their `ttft_s` on average, what that has beyond the
    steps a prompt needs; the last ends `tail_s` after the last arrival.
    `beyond` is arrivals over what was served, where they were more; else 0.
    """

    closed: bool
    growing: float = 0.0
    used: float = 0.0
    ttft_s: float = 0.0
    wait_s: float = 0.0
    span_s: float = 0.0
    tail_s: float = 0.0
    beyond: float = 0.0

    @property
    def full(self) -> float:
        """Arrivals over the most that could be served: rho."""
        return self.beyond or 1.0 - (1.0 - self.growing) * (1.0 - self.used)

    def step(self, scale: float) -> float:
        """Times as long that a step takes, with the batch that then runs."""
        if self.closed or self.beyond:
            return scale
        free = scale * _amplified(self.growing, scale)
        # at its limit a step grows no more
        return min(free, scale * max(self.full / self.used, 1.0)) if self.used > 0.0 else free

    def wait(self, scale: float) -> float:
        """Times as long that requests wait, of `wait_s` on average."""
        if self.closed or self.wait_s <= 0.0:
            return scale
        if self.beyond:
            return max((self.beyond * scale - 1.0) / (self.beyond - 1.0), 1.0 / MOST)
        left_s = 0.5 * max(self.full * scale - 1.0, 0.0) * self.span_s
        return max(scale * _amplified(self.full, scale), left_s / self.wait_s)

    def first(self, scale: float, of_prompt: float | None = None) -> float:
        """Times as long that TTFT is; `of_prompt`: where a prompt's own steps scale otherwise."""
        if self.ttft_s <= 0.0:
            return scale if of_prompt is None else of_prompt
        share = self.wait_s / self.ttft_s
        steps = self.step(scale) * (1.0 if of_prompt is None else of_prompt / scale)
        return share * self.wait(scale) + (1.0 - share) * steps

    def duration(self, scale: float) -> float:
        """Times as long that the run takes from its first arrival to its last completion."""
        if self.closed:
            return scale
        if self.beyond:
            return max(self.beyond * scale, 1.0) / self.beyond
        after_s = self.span_s * max(self.full * scale, 1.0) + self.tail_s * self.step(scale)
        before_s = self.span_s + self.tail_s
        return after_s / before_s if before_s > 0.0 else scale


def _amplified(share: float, scale: float) -> float:
    """(1 - share) / (1 - share x scale), at most `MOST`."""
    free = max(1.0 - share, 1e-9)
    return free / max(1.0 - share * scale, free / MOST)


def load_of(prepared: Prepared, outcomes: Outcomes) -> Load:
    """How loaded a run was; of pools apart, the one that decodes stands for all."""
    if isinstance(prepared.scenario.traffic, Closed):
        return Load(closed=True)
    records, group = outcomes.requests, outcomes.lead
    ended = records[records["status"] == DONE]
    busy_s = sum(replica.busy_s for replica in group.outcomes)
    iterations = sum(replica.iterations for replica in group.outcomes)
    if len(ended) == 0 or busy_s <= 0.0 or iterations == 0:
        return Load(closed=True)
    arrivals = records["arrival_s"]
    span_s = float(arrivals.max() - arrivals.min())
    tail_s = max(float(ended["last_s"].max() - arrivals.max()), 0.0)
    beyond = (
        (span_s + tail_s) / span_s
        if span_s > 0.0 and overloaded(prepared.scenario, records)
        else 0.0
    )
    step_s = busy_s / iterations
    growing, used = _shares(group, step_s, iterations, span_s + tail_s)
    ttft_s = float((ended["first_s"] - ended["arrival_s"]).mean())
    steps = np.ceil(ended["input"] / group.prepared.scenario.scheduler.prompt_tokens).mean()
    return Load(
        closed=span_s <= 0.0,
        growing=growing,
        used=used,
        ttft_s=ttft_s,
        wait_s=max(ttft_s - float(steps) * step_s, 0.0),
        span_s=span_s,
        tail_s=tail_s,
        beyond=beyond,
    )


def _shares(
    group: ReplicaGroup, step_s: float, iterations: int, seconds: float
) -> tuple[float, float]:
    """Shares of a mean step that grow with load, and of its limit that are used."""
    prepared, outcomes = group.prepared, group.outcomes
    program, scheduler = prepared.program, prepared.scenario.scheduler
    ended = [each.requests[each.requests["status"] == DONE] for each in outcomes]
    count = sum(len(each) for each in ended)
    if count == 0 or not prepared.graph.decodes:
        # one answer a request: a queue whose share of busy time is how full it is
        return 0.0, min(sum(each.busy_s for each in outcomes) / (seconds * len(outcomes)), 1.0)
    running_s = sum(float((each["last_s"] - each["admitted_s"]).sum()) for each in ended)
    batch = running_s / (seconds * len(outcomes))
    prompt = sum(float(each["input"].sum()) for each in ended) / count + prepared.extra_prompt
    answer = sum(float(each["output"].sum()) for each in ended) / count
    context = max(round(prompt + answer / 2.0), 2)
    low = max(round(batch), 1)
    high = low + max(low // STEEP, 1)
    decode_s, more_s = (step(program, decode_batch(n, context)).seconds for n in (low, high))
    slope_s = max(more_s - decode_s, 0.0) / (high - low)
    growing = min((batch * slope_s + max(step_s - decode_s, 0.0)) / step_s, 1.0)
    policy = policy_record(scheduler, prepared.budget.kv_B, program)
    held_B = sequences.kv_bytes(program.streams, policy[0], round(prompt), context)
    most = float(scheduler.max_batch)
    if held_B > 0.0:
        most = max(min(most, prepared.budget.kv_B / held_B), 1.0)
    tokens = sum(each.prefill_tokens for each in outcomes) / iterations
    room = max(scheduler.prompt_tokens - batch * (1 + program.ahead), 1.0)
    return growing, min(max(batch / most, tokens / room), 1.0)
