"""Random small runs that tests share: traces, schedulers and what they add up to."""

from __future__ import annotations

import pytest
from builders import trace
from hypothesis import strategies as st

from sim.engines.scheduler import Scheduler
from sim.engines.serving.outcome import Outcome
from sim.kernel.records import LOG_JOULES, LOG_SECONDS, LOG_SEQUENCES
from sim.mapping.program import Program
from sim.workload.traffic import Trace

TRACES: st.SearchStrategy[Trace] = st.lists(
    st.tuples(st.floats(0.0, 0.01), st.integers(1, 120), st.integers(1, 60)),
    min_size=1,
    max_size=30,
).map(lambda rows: trace(*sorted(rows)))


def schedulers(kinds: tuple[str, ...]) -> st.SearchStrategy[Scheduler]:
    """Schedulers of some kinds, with small and large batches, budgets and blocks."""
    return st.builds(
        Scheduler,
        kind=st.sampled_from(kinds),
        max_batch=st.integers(1, 16),
        token_budget=st.sampled_from((16, 64, 512)),
        max_prefill_tokens=st.sampled_from((64, 8192)),
        kv_block=st.sampled_from((1, 16)),
        kv_reserve=st.sampled_from(("paged", "full")),
        watermark=st.sampled_from((0.0, 0.05)),
    )


def check_sums(of: Program, got: Outcome) -> None:
    """Operators, host and static power add up to the iterations logged, and these to the whole."""
    machine = of.machine[0]
    # groups have a host process each
    host_s = machine["host_sequence_s"] / machine["groups"] * got.log[:, LOG_SEQUENCES].sum()
    host_s += machine["host_step_s"] * got.iterations
    assert got.seconds.sum() + host_s == pytest.approx(got.busy_s, rel=1e-9)
    assert got.log[:, LOG_SECONDS].sum() == pytest.approx(got.busy_s, rel=1e-9)
    static_J = machine["static_W"] * machine["devices"] * got.busy_s
    total_J = got.operator_joules + static_J
    assert got.log[:, LOG_JOULES].sum() == pytest.approx(total_J, rel=1e-9)
    assert len(got.log) == got.iterations
    assert got.requests["busy_s"].sum() == pytest.approx(got.busy_s, rel=1e-9)
    spent_J = got.operator_joules - got.copies.joules
    assert got.requests["joules"].sum() == pytest.approx(spent_J, rel=1e-9)
