"""The compiled serving loop equals the plain one, request by request, on small random traces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference_serving
from builders import DENSE, DEVICES, SCHEDULERS, model, program, served, system, trace
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.dtypes import Precision
from sim.engines.scheduler import Scheduler
from sim.engines.serving.outcome import Outcome
from sim.kernel.records import DONE, REJECTED
from sim.mapping.assemblies import assemble
from sim.mapping.layout import Parallel
from sim.mapping.parallelism import plan
from sim.mapping.program import Program
from sim.workload.expert_slots import Placement
from sim.workload.layers import build_graph
from sim.workload.routing import Router
from sim.workload.traffic import Trace

EXACT = 1e-9
SKEWED = Router(kind="zipf", skew=1.0, locality=0.4)
PROGRAMS = {
    "dense": program("dense", "two units"),
    "sliding": program("sliding"),
    "chunked-window": program("chunked-window"),
    "moe": program("moe", "PIM", count=4, ep=2),
    "alike": program("moe", "PIM", count=4, ep=2, router=SKEWED),
    "shared experts": program("moe", "PIM", count=4, ep=2, coprocessing="pe"),
    "groups": program("moe", count=4, attention_dp=2, ep=4),
    "groups with copies": program(
        "moe", count=4, attention_dp=2, ep=4, router=SKEWED, experts=Placement(redundant=4)
    ),
    "shared by groups": program(
        "hybrid", "PIM", count=4, attention_dp=2, ep=2, coprocessing="pe+et", split="greedy"
    ),
    "pipeline": program("dense", count=4, tp=2, pp=2),
    "hybrid": program("hybrid"),
    "encoder-decoder": program("encoder-decoder"),
}


def expanded(gaps: np.ndarray) -> np.ndarray:
    return np.sort(np.repeat(gaps[:, 0], gaps[:, 1].astype(np.int64)))


def compare(of: Program, scheduler: Scheduler, kv_B: float, requests: Trace) -> Outcome:
    got = served(of, scheduler, kv_B, requests)
    server, want = reference_serving.serve(of, scheduler, kv_B, requests)
    records = got.requests
    assert records["status"].tolist() == [REJECTED if s.rejected else DONE for s in want]
    assert records["preemptions"].tolist() == [s.preempted for s in want]
    for column, values in (
        ("admitted_s", [s.admitted for s in want]),
        ("first_s", [s.first for s in want]),
        ("last_s", [s.last for s in want]),
        ("max_gap_s", [s.worst_gap for s in want]),
    ):
        assert records[column].tolist() == pytest.approx(values, rel=EXACT, nan_ok=True), column
    assert got.iterations == server.iterations
    assert got.preemptions == server.preemptions
    assert got.prefill_tokens == server.prefilled
    assert got.generated_tokens == sum(s.generated for s in want)
    assert got.kv_peak_B == pytest.approx(server.peak, rel=EXACT)
    assert got.busy_s == pytest.approx(server.busy, rel=EXACT)
    assert expanded(got.gaps) == pytest.approx(np.sort(server.gaps), rel=EXACT)
    static = of.machine["static_W"][0] * of.machine["devices"][0] * got.busy_s
    assert got.operator_joules + static == pytest.approx(server.joules, rel=EXACT)
    return got


def sequence_bytes(of: Program, tokens: int) -> float:
    """Cache of a sequence of `tokens` tokens without windows."""
    return float(of.streams["kv_B"].sum() * tokens + of.state_B)


def compare_preempted_and_rejected(of: Program, kind: str) -> None:
    """Where memory runs out, and one request could never have it."""
    scheduler = Scheduler(kind=kind, kv_block=4, token_budget=24, watermark=0.0)  # type: ignore[arg-type]
    requests = trace((0.0, 10, 30), (0.0, 12, 30), (1e-4, 8, 25), (2e-4, 70, 5), (3e-4, 9, 20))
    got = compare(of, scheduler, sequence_bytes(of, 64), requests)
    assert got.preemptions > 0
    assert (got.requests["status"] == REJECTED).sum() == 1


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    rows = draw(
        st.lists(
            st.tuples(
                st.floats(0.0, 3e-3).map(lambda seconds: round(seconds, 7)),
                st.integers(1, 40),
                st.integers(1, 25),
                st.integers(-1, 1),
            ),
            min_size=1,
            max_size=7,
        )
    )
    rows = sorted(rows)
    classes = np.array([row[3] for row in rows])
    return replace(trace(*(row[:3] for row in rows)), priority=classes)


def schedulers(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[Scheduler]:
    """Schedulers of small batches, budgets and blocks, and `more`; each test sets its kinds."""

    def made(budget: int, **others: Any) -> Scheduler:
        return Scheduler(token_budget=budget, max_prefill_tokens=budget, **others)

    return st.builds(
        made,
        budget=st.sampled_from((8, 17, 64)),
        max_batch=st.integers(1, 6),
        kv_reserve=st.sampled_from(("paged", "full")),
        kv_block=st.sampled_from((1, 4, 16)),
        watermark=st.sampled_from((0.0, 0.01, 0.2)),
        **more,
    )


@pytest.mark.parametrize("kind", SCHEDULERS)
@settings(max_examples=60)
@given(
    requests=traces(),
    name=st.sampled_from(sorted(PROGRAMS)),
    room=st.floats(0.3, 3.0),
    scheduler=schedulers(
        order=st.sampled_from(("arrival", "shortest", "deadline", "priority")),
        deadline_s=st.just(1e-4),
        deadline_s_per_token=st.just(-1e-5),
        groups=st.sampled_from((1, 2, 3, 12)),
        group_tokens=st.just(9),
        group_rule=st.sampled_from(("paper", "release")),
    ),
)
def test_compiled_serving_equals_reference(
    kind: str, requests: Trace, name: str, room: float, scheduler: Scheduler
) -> None:
    of = PROGRAMS[name]
    scheduler = replace(scheduler, kind=kind)  # type: ignore[arg-type]
    compare(of, scheduler, np.floor(sequence_bytes(of, 65) * room), requests)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_preemption_and_rejection_happen_and_agree(kind: str) -> None:
    compare_preempted_and_rejected(PROGRAMS["dense"], kind)


def test_memory_grows_too_while_prompts_pass_their_groups_of_layers() -> None:
    """The peak may be in an iteration that picks no new prompt."""
    scheduler = Scheduler(
        kind="layered-prefill", max_batch=3, max_prefill_tokens=17, kv_block=1, groups=3,
        group_tokens=9,
    )  # fmt: skip
    requests = trace((0.0, 1, 1), (0.0, 1, 1), (0.0, 1, 3), (0.0, 10, 1))
    compare(PROGRAMS["dense"], scheduler, sequence_bytes(PROGRAMS["dense"], 65), requests)


def test_a_request_of_exactly_the_memory_is_served() -> None:
    """Rounding in the accounts of earlier requests must not keep it out for ever."""
    machines = system(DEVICES["one unit"], 9)
    graph = build_graph(model(*(DENSE,) * 14))  # two of 14 layers: a size that is no round number
    of = assemble(graph, machines, plan(graph, machines, Parallel(tp=1, pp=9)), Precision())
    assert of.streams["kv_B"][0] % 1.0 != 0.0
    rows = [(1e-6 * i, 3 + 5 * i % 17, 4 + 7 * i % 9) for i in range(30)] + [(0.5, 57, 7)]
    got = compare(of, Scheduler(kv_block=1, watermark=0.0), sequence_bytes(of, 64), trace(*rows))
    assert (got.requests["status"] == DONE).all()
