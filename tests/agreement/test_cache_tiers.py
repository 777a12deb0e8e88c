"""Tiers below the prefix cache against plain counts of what each of them holds."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import SCHEDULERS, program, serve_trace, trace
from hypothesis import given, settings
from hypothesis import strategies as st
from test_prefix_cache import PLENTY, TOKENS, conversations, counted, whole_blocks, with_blocks

from sim.engines.offload import Tier
from sim.engines.scheduler import Scheduler
from sim.engines.serving import Kind, Requests
from sim.engines.serving.fleet import Crew
from sim.engines.serving.outcome import Outcome
from sim.errors import ConfigError, Infeasible
from sim.kernel.records import DONE, LOADS
from sim.workload.traffic import Trace
from sim.workload.traffic.readers import read_trace

TOKEN_B = float(program("dense").streams["kv_B"].sum())
FAST = Tier(
    name="dram", size_B=PLENTY, bandwidth_B_per_s=np.inf, latency_s=0.0, energy_J_per_B=1e-11
)


def tier(blocks: int, name: str = "dram", tokens: int = TOKENS, **changes: float) -> Tier:
    return replace(FAST, name=name, size_B=blocks * tokens * TOKEN_B, **changes)  # type: ignore[arg-type]


def run(requests: Trace, *tiers: Tier, kv_B: float = PLENTY, **spec: object) -> Outcome:
    chosen = {"kv_block": 1, "watermark": 0.0, **spec}
    scheduler = Scheduler(prefix_cache=True, kv_tiers=tiers, **chosen)  # type: ignore[arg-type]
    (outcome,) = serve_trace(program("dense"), scheduler, kv_B, requests).outcomes
    return outcome


def counted_by_tier(requests: Trace, most: list[int]) -> list[list[int]]:
    """Tokens that each request finds in memory and in each tier, one request after the other.

    `most` blocks fit at each level. A prompt goes as far as its blocks are somewhere and fit into
    memory; they come up to it, and its further ones are new there. What memory has no room for goes
    down: of each level the block used least recently, of a prompt the last first.
    """
    assert requests.blocks is not None
    tokens = requests.blocks.tokens
    levels: list[OrderedDict[int, None]] = [OrderedDict() for _ in most]

    def put(block: int, level: int) -> None:
        for below in range(level, len(levels)):
            levels[below][block] = None
            if len(levels[below]) <= most[below]:
                return
            block, _ = levels[below].popitem(last=False)

    found = []
    for prompt, blocks in zip(requests.input_tokens, whole_blocks(requests), strict=True):
        own = blocks[: min((int(prompt) - 1) // tokens, most[0])]
        places = [next((n for n, held in enumerate(levels) if b in held), -1) for b in own]
        known = places.index(-1) if -1 in places else len(places)
        found.append([places[:known].count(level) * tokens for level in range(len(most))])
        taken = []
        for block in blocks[: most[0]]:
            for held in levels:
                held.pop(block, None)
            taken.append(block)
            while len(levels[0]) + len(taken) > most[0]:
                dropped, _ = levels[0].popitem(last=False)
                put(dropped, 1)
        for block in reversed(taken):
            levels[0][block] = None
    return found


@settings(max_examples=100)
@given(
    requests=conversations(),
    memory=st.integers(1, 14),
    below=st.lists(st.integers(1, 12), min_size=1, max_size=3),
)
def test_one_at_a_time_each_tier_holds_what_a_plain_count_says(
    requests: Trace, memory: int, below: list[int]
) -> None:
    tiers = [tier(blocks, f"tier {number}") for number, blocks in enumerate(below)]
    got = run(requests, *tiers, max_batch=1, prefix_blocks=memory)
    want = counted_by_tier(requests, [memory, *below])
    assert got.requests["cached"].tolist() == [sum(each) for each in want]
    assert got.requests["loaded"].tolist() == [sum(each[1:]) for each in want]
    assert [use.found_tokens for use in got.copies.tiers] == [
        sum(each[number + 1] for each in want) for number in range(len(below))
    ]


@settings(max_examples=60)
@given(requests=conversations(), memory=st.integers(6, 14), below=st.integers(1, 12))
def test_one_at_a_time_a_tier_finds_what_a_larger_memory_would(
    requests: Trace, memory: int, below: int
) -> None:
    """LRU lists one below the other are one LRU list; prompts have up to five blocks."""
    got = run(requests, tier(below), max_batch=1, prefix_blocks=memory)
    assert got.requests["cached"].tolist() == counted(requests, memory + below)
    more = run(requests, tier(below + 1), max_batch=1, prefix_blocks=memory)
    assert more.cached_tokens >= got.cached_tokens  # LRU inclusion


@pytest.mark.parametrize("kind", ["chunked-prefill", "continuous", "layered-prefill"])
@settings(max_examples=30)
@given(requests=conversations(), memory=st.integers(10, 60))
def test_without_a_limit_below_every_whole_block_is_found_again(
    kind: str, requests: Trace, memory: int
) -> None:
    kv_B = memory * TOKENS * TOKEN_B
    got = run(requests, FAST, kv_B=kv_B, kind=kind, kv_reserve="full")
    done = got.requests["status"] == DONE
    assert done.all()
    assert got.requests["cached"].tolist() == counted(requests)


@settings(max_examples=60)
@given(
    requests=conversations(),
    tokens=st.integers(60, 200),
    below=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    kind=st.sampled_from(SCHEDULERS),
    most=st.sampled_from([None, 3, 9]),
    loads=st.sampled_from(LOADS),
    rate=st.sampled_from([1e6, 1e8, np.inf]),
)
def test_blocks_are_in_one_place_each_and_add_up(
    requests: Trace,
    tokens: int,
    below: list[int],
    kind: str,
    most: int | None,
    loads: str,
    rate: float,
) -> None:
    tiers = tuple(
        tier(blocks, f"tier {number}", bandwidth_B_per_s=rate)
        for number, blocks in enumerate(below)
    )
    scheduler = Scheduler(
        kind=kind,  # type: ignore[arg-type]
        prefix_cache=True, prefix_blocks=most, kv_block=1, watermark=0.0, token_budget=16,
        kv_tiers=tiers, kv_loads=loads,  # type: ignore[arg-type]
    )  # fmt: skip
    kind_ = Kind(program=program("dense"), scheduler=scheduler, kv_B=tokens * TOKEN_B)
    crew = Crew(kinds=[kind_], counts=[1], requests=Requests.of(kind_, requests))
    crew.serve()
    (pool,) = crew.pools
    state, refs = pool.states[0], pool.flows.refs[0]
    assert (crew.table["status"] == DONE).all()
    assert (crew.table["kv_B"] == 0.0).all()
    assert state["kv_used_B"] == 0.0
    assert state["kv_peak_B"] <= tokens * TOKEN_B * (1.0 + 1e-12)
    assert (refs <= 0).all()
    assert state["cached_blocks"] == state["idle_blocks"] == (refs == 0).sum()
    lists = [(state["oldest"], state["newest"], 0)]
    for number, blocks in enumerate(below):
        held = (refs == -2 - number).sum()
        assert state["tier_blocks"][number] == held <= blocks
        assert held <= state["tier_peak"][number] <= blocks
        lists.append((state["tier_oldest"][number], state["tier_newest"][number], -2 - number))
    for oldest, newest, place in lists:
        walked, last = [], -1
        while oldest >= 0:
            walked.append(int(oldest))
            assert pool.flows.older[0][oldest] == last
            last, oldest = oldest, pool.flows.newer[0][oldest]
        assert last == newest
        assert sorted(walked) == np.flatnonzero(refs == place).tolist()
    assert state["tier_in"][0] == state["dropped_blocks"]
    assert (state["load_s"], state["copy_s"]) == (0.0, 0.0)


def again(prompt: int = 65) -> Trace:
    """A prompt, another one that takes its place in memory, and the first one again."""
    blocks = prompt // TOKENS
    rows = [list(range(blocks)), list(range(100, 100 + blocks)), list(range(blocks))]
    return with_blocks(trace(*((float(at), prompt, 3) for at in range(3))), rows)


def test_a_load_takes_its_time_before_the_prompt_or_layer_by_layer() -> None:
    slow = tier(8, bandwidth_B_per_s=1e8, latency_s=1e-4)
    got = {
        loads: run(again(), slow, max_batch=1, prefix_blocks=8, kv_loads=loads) for loads in LOADS
    }
    free = run(again(), tier(8), max_batch=1, prefix_blocks=8)
    load_s = 1e-4 + 64 * TOKEN_B / 1e8
    ttft = {
        key: (each.requests["first_s"] - each.requests["arrival_s"])[2]
        for key, each in (*got.items(), ("free", free))
    }
    assert ttft["blocking"] == pytest.approx(ttft["free"] + load_s)
    assert ttft["async"] == pytest.approx(ttft["free"] + load_s)
    layers = 4
    pass_s = ttft["free"]
    hidden = max(load_s + pass_s / layers, load_s / layers + pass_s)
    assert ttft["layerwise"] == pytest.approx(hidden)
    assert got["blocking"].copies.load_wait_s == pytest.approx(load_s)
    assert got["async"].copies.load_wait_s == 0.0
    for each in got.values():
        assert each.copies.load_s == pytest.approx(load_s)
        assert each.copies.tiers[0].up_B == 64 * TOKEN_B
    assert free.copies.load_wait_s == 0.0
    moved_B = free.copies.tiers[0].up_B + free.copies.tiers[0].down_B
    assert free.copies.joules == pytest.approx(moved_B * FAST.energy_J_per_B)


def test_layers_passed_group_by_group_wait_for_their_own_part() -> None:
    slow = tier(8, bandwidth_B_per_s=1e8, latency_s=1e-4)
    layered = {
        "kind": "layered-prefill", "groups": 2, "group_tokens": 1, "kv_loads": "blocking"
    }  # fmt: skip
    waiting = run(again(66), slow, max_batch=1, prefix_blocks=8, **layered)
    assert waiting.copies.load_wait_s == pytest.approx(1e-4 + 64 * TOKEN_B / 1e8)


@settings(max_examples=30)
@given(rates=st.tuples(st.floats(5, 11), st.floats(5, 11)), loads=st.sampled_from(LOADS))
def test_a_slower_tier_never_gives_an_earlier_first_token(
    rates: tuple[float, float], loads: str
) -> None:
    firsts = []
    for rate in sorted(rates):
        slow = tier(8, bandwidth_B_per_s=10.0**rate, latency_s=1e-6)
        got = run(again(), slow, max_batch=1, prefix_blocks=8, kv_loads=loads)
        firsts.append(got.requests["first_s"][2])
    assert firsts[0] >= firsts[1]


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_answers_go_on_while_a_prompt_is_loaded(kind: str) -> None:
    """A long answer runs beside a prompt whose load takes longer than it."""
    rows = [list(range(8)), list(range(100, 108)), [200], list(range(8))]
    arrivals = [(0.0, 65, 3), (1.0, 65, 3), (2.0, 9, 400), (2.001, 65, 3)]
    requests = with_blocks(trace(*arrivals), rows)
    slow = tier(20, bandwidth_B_per_s=1e6, latency_s=0.0)
    spec = {"kind": kind, "max_batch": 4, "prefix_blocks": 9, "token_budget": 64}
    gaps, firsts = {}, {}
    for loads in ("async", "blocking"):
        got = run(requests, slow, kv_loads=loads, **spec)
        assert got.requests["loaded"].tolist() == [0, 0, 0, 64]
        gaps[loads] = got.requests["max_gap_s"][2]
        firsts[loads] = got.requests["first_s"][3] - got.requests["arrival_s"][3]
    load_s = 64 * TOKEN_B / 1e6
    assert min(firsts.values()) >= load_s
    if kind != "static":  # whose prompts don't join
        assert gaps["async"] < 0.1 * load_s < load_s < gaps["blocking"]


def test_no_tiers_and_an_endless_memory_are_alike() -> None:
    """What nothing drops never goes down."""
    got, plain = run(again(), FAST), run(again())
    assert got.requests.tobytes() == plain.requests.tobytes()
    assert got.copies.tiers[0].down_B == 0.0


def test_what_makes_no_sense_is_refused() -> None:
    for changes, message in (
        ({"kv_tiers": (FAST,)}, "drops out of a cache"),
        ({"prefix_cache": True, "kv_tiers": (FAST, FAST)}, "another tier"),
        (
            {
                "prefix_cache": True,
                "kv_tiers": tuple(replace(FAST, name=str(number)) for number in range(5)),
            },
            "4 at most",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            Scheduler(**changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="size_B: 0: a size above 0"):
        replace(FAST, size_B=0.0)
    with pytest.raises(Infeasible, match="no room for a block"):
        run(again(), replace(FAST, size_B=TOKEN_B))


@pytest.fixture(scope="module")
def mooncake(measured_data: Path) -> Trace:
    return read_trace(measured_data / "traces" / "mooncake_conversation.jsonl.gz")


def test_mooncake_with_tiers_without_a_limit_is_the_offline_count(mooncake: Trace) -> None:
    """Memory for ten of the longest prompts, and a tier for all that drops out of it."""
    longest = int((mooncake.input_tokens + mooncake.output_tokens).max())
    got = run(
        mooncake, tier(10_000, "dram", 512), replace(FAST, name="ssd"),
        kv_B=10 * longest * TOKEN_B, kv_block=16, max_batch=256, kv_reserve="full",
    )  # fmt: skip
    assert got.requests["cached"].tolist() == counted(mooncake)
    assert got.copies.tiers[0].found_tokens > 0
    assert got.copies.tiers[1].found_tokens > 0


def test_mooncake_one_at_a_time_is_lru_on_two_levels(mooncake: Trace) -> None:
    assert mooncake.blocks is not None
    got = run(
        mooncake, tier(9000, tokens=mooncake.blocks.tokens),
        kv_block=16, max_batch=1, prefix_blocks=1000,
    )  # fmt: skip
    want = counted_by_tier(mooncake, [1000, 9000])
    assert got.requests["cached"].tolist() == [sum(each) for each in want]
    assert got.requests["loaded"].tolist() == [each[1] for each in want]
    assert got.requests["cached"].tolist() == counted(mooncake, 10_000)
