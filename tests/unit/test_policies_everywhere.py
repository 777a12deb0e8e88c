"""Policies of the user's in fleets, with a prefix cache, with swap, and named in a scenario."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import program, served, trace
from fleets import check_conserved, kind, records_of, serve_disaggregated, serve_fleet, traffic
from numpy.testing import assert_allclose

import sim
from sim.cli import main
from sim.engines.offload import Host, Tier
from sim.engines.policy import Iteration, Prompt, View
from sim.engines.scheduler import Scheduler
from sim.engines.serving.disaggregation import Transfer
from sim.engines.serving.outcome import Served
from sim.hardware import Link
from sim.kernel.records import DONE
from sim.mapping.transfer import cache_bytes
from sim.workload.traffic import Blocks, Trace
from tests.fleets import ready

BUDGET = 24
TIMES = ("admitted_s", "first_s", "last_s", "max_gap_s", "cached", "preemptions", "status")


def chunked(view: View) -> Iteration:
    """Decodes first, then prompts that have begun, then the queue, up to a budget of tokens."""
    room, free_B = view.max_batch - len(view.running), view.free_B
    budget, prompts = BUDGET - len(view.decoding), []
    waiting = set(view.waiting.tolist())
    for number in (*view.prefilling.tolist(), *view.waiting.tolist()):
        if number in waiting:
            free_B -= view.need_B(number)
            room -= 1
            if room < 0 or free_B < 0.0:
                break
        if budget <= 0:
            break
        prompts.append(Prompt(number, min(budget, view.left(number))))
        budget -= prompts[-1].tokens
    return Iteration(view.decoding, prompts)


def both(**changes: Any) -> tuple[Any, Any]:
    """A kind of replicas under the policy, and under the built-in scheduler that it imitates."""
    built_in = kind(kind="chunked-prefill", token_budget=BUDGET, **changes)
    return replace(built_in, scheduler=replace(built_in.scheduler, policy=chunked)), built_in


def same(one: Served, other: Served) -> None:
    first, second = records_of(one), records_of(other)
    for name in TIMES:
        assert_allclose(first[name], second[name], rtol=1e-9, err_msg=name)


def prompts_again() -> Trace:
    """Requests of three texts again and again."""
    made = traffic(4, 24, 20.0)
    texts = [number % 3 for number in range(24)]
    prompts = [(100, 230, 330)[text] for text in texts]
    ids = [text * 100 + block for text, size in zip(texts, prompts, strict=True)
           for block in range(size // 16)]  # fmt: skip
    sizes = [size // 16 for size in prompts]
    starts = [sum(sizes[:number]) for number in range(25)]
    blocks = Blocks(ids=np.array(ids), starts=np.array(starts), tokens=16)
    return replace(made, input_tokens=np.array(prompts), blocks=blocks)


@pytest.mark.parametrize("route", ["round-robin", "least-loaded", "by-length"])
def test_a_policy_of_each_replica_of_a_fleet(route: str) -> None:
    mine, built_in = both()
    requests = traffic(1, 40, 60.0, longest=100)
    got, *_ = serve_fleet([mine], [3], requests, route=route)
    check_conserved(got, requests)
    same(got, serve_fleet([built_in], [3], requests, route=route)[0])


def test_a_policy_of_pools_apart() -> None:
    mine, built_in = both()
    requests = traffic(2, 30, 60.0, longest=100)
    sizes = cache_bytes(ready().graph, ready().scenario.precision, requests.input_tokens)
    link = Link(name="link", bandwidth_B_per_s=5e9, latency_s=1e-4)
    transfer = Transfer(prompt_B=sizes, layers=32, link=link)
    got, _ = serve_disaggregated((mine, 2), (mine, 2), requests, transfer)
    check_conserved(got, requests)
    same(got, serve_disaggregated((built_in, 2), (built_in, 2), requests, transfer)[0])


@pytest.mark.parametrize("loads", ["", "async", "blocking", "layerwise"])
def test_a_policy_with_a_prefix_cache(loads: str) -> None:
    tier = Tier(name="dram", size_B=1e12, bandwidth_B_per_s=1e8, latency_s=1e-3)
    below = {"kv_tiers": (tier,), "kv_loads": loads, "prefix_blocks": 10} if loads else {}
    mine, built_in = both(prefix_cache=True, **below)
    requests = prompts_again()
    got, *_ = serve_fleet([mine], [1], requests)
    check_conserved(got, requests)
    assert records_of(got)["cached"].sum() > 0
    assert (records_of(got)["loaded"].sum() > 0) == bool(loads)
    if loads != "async":  # the built-in one looks at what is loaded once an iteration
        same(got, serve_fleet([built_in], [1], requests)[0])


def test_a_policy_with_swap() -> None:
    of = program("dense")
    host = Host(memory_B=2.0**30, bandwidth_B_per_s=1e9, latency_s=1e-5)
    token_B = float(of.streams["kv_B"].sum())
    spec = Scheduler(
        kind="chunked-prefill", token_budget=BUDGET, kv_block=1, watermark=0.0, preemption="swap",
        host=host,
    )  # fmt: skip
    requests = trace((0.0, 10, 30), (0.0, 12, 30), (1e-4, 8, 25), (3e-4, 9, 20))
    got = served(of, replace(spec, policy=chunked), 64 * token_B, requests)
    want = served(of, spec, 64 * token_B, requests)
    assert got.copies.swaps == want.copies.swaps > 0
    assert (got.requests["status"] == DONE).all()
    for name in TIMES:
        assert_allclose(got.requests[name], want.requests[name], rtol=1e-9, err_msg=name)


CODE = """
from sim import Iteration, Prompt

def first_come(view):
    numbers = [*view.prefilling, *view.waiting][:1]
    return Iteration(view.decoding, [Prompt(int(n), view.left(int(n))) for n in numbers])
"""
CHANGES = ["traffic.limit=20", "scheduler.policy=my_own:first_come"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    return int(done.value.code or 0), *capsys.readouterr()


def test_a_policy_by_name_runs_where_code_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_own.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    options = [part for change in CHANGES for part in ("--set", change)]
    command = ["run", "llama-8b-azure-h100", *options, "--json"]
    code, _, error = run(capsys, *command)
    assert code == 2
    assert "--allow-code" in error
    code, answer, error = run(capsys, *command, "--allow-code")
    assert code == 0, error
    assert "runs code: my_own:first_come" in error
    assert json.loads(answer)["requests"]["completed"] == 20


@pytest.mark.parametrize(
    ("name", "words"),
    [("nothing", "module:function is due"), ("no_such_module:f", "can't be imported"),
     ("json:no_such", "has no function no_such")],
)  # fmt: skip
def test_what_is_no_policy_is_told(name: str, words: str) -> None:
    with pytest.raises(sim.ConfigError, match=words) as error:
        sim.simulate("llama-8b-azure-h100", sets=[f"scheduler.policy={name}"], allow_code=True)
    assert error.value.problems[0].path == "scheduler.policy"
