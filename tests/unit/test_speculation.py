"""Speculation as a user sees it: what may be written, what drafts, what a run says."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import GQA, MAMBA, MLP, MODELS, SMALL, drafted, model

import sim
from sim.cli import main
from sim.config.catalogue import load_model
from sim.config.scenarios import load_scenario
from sim.errors import ConfigError
from sim.kernel.speculation import uniform_at
from sim.kernel.splitmix import bits_at
from sim.results.explain import explain
from sim.scenario import Parallel, Scheduler
from sim.simulation.prepare import prepare
from sim.workload.architecture import Architecture, Attention, Block
from sim.workload.layers import build_graph
from sim.workload.speculation import Speculation, draft_graph, draws_of, unfit

CHAT = "llama-8b-azure-h100"
DRAFT: dict[str, Any] = {"draft": "llama-3.2-1b", "tokens": 4, "acceptance": 0.7}
FEW = ("traffic.limit=40",)


def speculation(draft: Any = "mtp", tokens: int = 2, each: float = 0.5, **more: Any) -> Speculation:
    return Speculation(draft=draft, tokens=tokens, acceptance=(each,) * tokens, **more)


# --- values -----------------------------------------------------------------------------------


def test_tokens_a_step_are_the_sum_of_chances() -> None:
    one = Speculation(draft="mtp", tokens=3, acceptance=(0.9, 0.5, 0.2))
    assert one.reached.tolist() == pytest.approx([0.9, 0.45, 0.09])
    assert one.tokens_per_step == pytest.approx(1.0 + 0.9 + 0.45 + 0.09)
    assert speculation(tokens=4, each=1.0).tokens_per_step == 5.0
    assert speculation(tokens=4, each=0.0).tokens_per_step == 1.0


def test_draws_begin_with_the_output_of_splitmix64() -> None:
    """Its first three words from the state 1234567, as published with its C code."""
    words = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    state = draws_of(0, np.arange(1))  # any state; what counts is how it goes on
    assert state.dtype == np.uint64
    with np.errstate(over="ignore"):
        assert bits_at(np.uint64(1234567), np.arange(1, 4)).tolist() == words
    assert [uniform_at(np.uint64(1234567), n) for n in (1, 2, 3)] == [
        (word >> 11) / 2.0**53 for word in words
    ]


def test_requests_and_seeds_draw_apart() -> None:
    keys = np.concatenate([draws_of(seed, np.arange(1000)) for seed in range(20)])
    assert len(np.unique(keys)) == len(keys)
    assert (draws_of(3, np.arange(5, 9)) == draws_of(3, np.arange(20))[5:9]).all()


# --- what drafts ------------------------------------------------------------------------------


def test_the_module_of_deepseek_v3_has_the_parameters_it_is_published_with() -> None:
    """11.5 B of its own, 2.4 B active with embedding and head (the model's README_WEIGHTS)."""
    graph = draft_graph(load_model("deepseek-v3"), speculation())
    assert graph.parameters == pytest.approx(11.5e9, rel=0.01)
    used = sum(
        op.weights * op.layers * (op.top_k / op.experts if op.experts else 1.0) for op in graph.ops
    )
    assert used == pytest.approx(2.4e9, rel=0.07)
    assert {op.name for op in graph.ops} >= {"draft.projection", "draft.lm_head"}


def test_a_model_drafts_with_its_own_operators() -> None:
    graph, alone = draft_graph(MODELS["moe"], speculation(SMALL)), build_graph(SMALL)
    assert graph.parameters == alone.parameters
    assert [op.name for op in graph.ops] == [f"draft.{op.name}" for op in alone.ops]
    assert {stream.draft for stream in graph.streams} == {"own"}


def test_all_the_operators_of_a_draft_are_named_so() -> None:
    """Those that tie devices together too."""
    of = drafted("moe", "mtp", 1, count=4, attention_dp=2, ep=4)
    ops = of.table.graph.ops
    assert [op.name.startswith("draft.") for op in ops] == of.drafts.tolist()
    assert any("all-to-all" in op.name for op, own in zip(ops, of.drafts, strict=True) if own)


def test_self_speculation_owns_nothing() -> None:
    graph = draft_graph(MODELS["dense"], speculation("self", layers=3))
    assert graph.parameters == 0.0
    assert max(op.layers for op in graph.ops) == 3
    assert {stream.draft for stream in graph.streams} == {"shared"}


OTHER_WORDS = replace(SMALL, vocabulary=5000)
RECURRENT = model(Block(mixer=MAMBA, norms=1), Block(mixer=GQA, ffn=MLP), name="recurrent")


@pytest.mark.parametrize(
    ("of", "by", "key", "words"),
    [
        (MODELS["dense"], speculation("self"), "layers", "1 to 3 of the 4 layers"),
        (MODELS["dense"], speculation("self", layers=4), "layers", "1 to 3 of the 4 layers"),
        (MODELS["dense"], speculation("mtp", layers=2), "layers", "go with draft: self"),
        (MODELS["dense"], speculation(OTHER_WORDS), "draft", "vocabulary of 5000"),
        (MODELS["dense"], speculation(MODELS["moe"]), "draft", "a dense draft"),
        (MODELS["dense"], speculation(RECURRENT), "draft", "recurrent"),
        (MODELS["hybrid"], speculation(SMALL), "draft", "recurrent"),
        (MODELS["encoder-decoder"], speculation(), "draft", "encoder"),
        (MODELS["encoder-only"], speculation(), "draft", "encoder"),
    ],
)
def test_what_does_not_fit_is_told(of: Architecture, by: Speculation, key: str, words: str) -> None:
    found = unfit(of, by)
    assert words in found[key]


def test_padded_vocabularies_are_alike() -> None:
    assert not unfit(MODELS["dense"], speculation(replace(SMALL, vocabulary=1024)))


# --- what may be written ----------------------------------------------------------------------


def test_forms_of_the_yaml() -> None:
    one = load_scenario(CHAT, speculation=DRAFT).speculation
    assert one is not None
    assert (one.name, one.tokens, one.acceptance) == ("llama-3.2-1b", 4, (0.7,) * 4)
    listed = load_scenario(
        CHAT, speculation={"draft": "mtp", "tokens": 2, "acceptance": ["90 %", 0.5, 0.1]}
    ).speculation
    assert listed is not None
    assert (listed.draft, listed.acceptance) == ("mtp", (0.9, 0.5))
    itself = load_scenario(
        CHAT, speculation={"draft": "self", "layers": 8, "acceptance": 0.7}
    ).speculation
    assert itself is not None
    assert (itself.draft, itself.layers, itself.tokens) == ("self", 8, 4)
    inline = {"hidden": 64, "layers": 2, "vocabulary": 128256, "attention": {"heads": 4},
              "ffn": {"intermediate": 128}, "name": "tiny", "title": "Tiny"}  # fmt: skip
    tiny = load_scenario(CHAT, speculation={**DRAFT, "draft": inline}).speculation
    assert tiny is not None
    assert tiny.name == "tiny"


def test_values_are_set_and_put_out() -> None:
    base = "llama-70b-closed-speculation"
    changed = load_scenario(base, sets=["speculation.tokens=2", "speculation.draft=mtp"])
    assert changed.speculation is not None
    assert (changed.speculation.tokens, changed.speculation.draft) == (2, "mtp")
    for sets in (["speculation.tokens=0"], ["speculation=null"]):
        assert load_scenario(base, sets=sets).speculation is None
    ready = load_scenario(CHAT, speculation=speculation("self", layers=4))
    assert ready.speculation == speculation("self", layers=4)


def test_no_tokens_are_no_speculation_to_the_byte() -> None:
    plain = load_scenario(CHAT, sets=FEW)
    none = load_scenario(CHAT, sets=FEW, speculation={**DRAFT, "tokens": 0})
    assert none.digest == plain.digest
    assert none.digest != load_scenario(CHAT, sets=FEW, speculation=DRAFT).digest
    texts = [json.dumps(sim.simulate(each).to_json()) for each in (plain, none)]
    assert texts[0] == texts[1]
    assert '"speculation"' not in texts[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"draft": "llama-3.2-1x", "acceptance": 0.7}, "did you mean 'llama-3.2-1b'?"),
        ({"draft": "mtp", "acceptance": 1.7}, "speculation.acceptance: 1.7: a share from 0 to 1"),
        ({"draft": "mtp", "acceptance": [0.7, 0.1], "tokens": 3}, "2 probabilities for 3 tokens"),
        ({"draft": "mtp", "acceptance": []}, "a share is due, or a list of them"),
        ({"draft": "mtp", "acceptance": 0.7, "token": 3}, "did you mean 'tokens'?"),
        ({"draft": "mtp", "acceptance": 0.7, "tokens": -1}, "a whole number from 0"),
        ({"draft": "mtp"}, "speculation.acceptance: is missing"),
        ({"acceptance": 0.7}, "speculation.draft: is missing"),
        ({"draft": 4, "acceptance": 0.7}, "mtp, self, or a model is due"),
        ({"draft": "self", "acceptance": 0.7}, "speculation.layers: self drafts with the first"),
        ({"draft": "self", "acceptance": 0.7, "layers": 32}, "1 to 31 of the 32 layers"),
        ({"draft": "qwen3-8b", "acceptance": 0.7}, "a draft needs the same tokens"),
        (0.7, "a mapping (key: value) is due"),
    ],
)
def test_mistakes_are_named(given: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_scenario(CHAT, speculation=given)
    text = str(caught.value)
    assert words in text
    assert "argument speculation" in text


@pytest.mark.parametrize(
    ("base", "changes", "words"),
    [
        (CHAT, {"scheduler": {"kind": "layered-prefill"}}, "take another kind"),
        (CHAT, {"system": "h100-x4", "parallel": {"tp": 2, "pp": 2}}, "parallel.pp 1"),
        ("gpt-oss-azure-hnlpu", {"speculation": {"draft": "mtp", "acceptance": 0.7}}, "hardwired"),
        (
            "mixtral-8x22b-split",
            {"speculation": {"draft": "mtp", "acceptance": 0.7}},
            "leave split out",
        ),
        (
            CHAT,
            {
                "speculation": {"draft": "self", "layers": 8, "acceptance": 0.7},
                "techniques": [{"kind": "token-pruning", "layer": 15, "keep": 0.2}],
            },
            "leave techniques out",
        ),
    ],
)
def test_what_it_does_not_go_with_is_one_error(
    base: str, changes: dict[str, Any], words: str
) -> None:
    scenario = load_scenario(base, **{"speculation": DRAFT, **changes})
    with pytest.raises(ConfigError) as caught:
        prepare(scenario)
    (problem,) = caught.value.problems
    assert problem.path == "speculation"
    assert words in problem.message


def test_a_policy_in_python_is_refused() -> None:
    scenario = load_scenario(CHAT, speculation=DRAFT)
    own = Scheduler(policy=lambda view: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match="policy of your own"):
        prepare(replace(scenario, scheduler=own))


def test_heads_that_do_not_divide_are_named() -> None:
    """Eight devices draft as wide as the model runs; six heads don't divide over them."""
    odd = Architecture(
        name="odd", title="odd", hidden=384, vocabulary=128256,
        layers=(Block(mixer=Attention(heads=6, kv_heads=2, head_dim=64), ffn=MLP),),
    )  # fmt: skip
    scenario = load_scenario("llama-70b-closed-speculation", speculation=speculation(odd))
    with pytest.raises(ConfigError, match=r"the 6 heads \(2 of keys and values\) of odd") as caught:
        prepare(scenario)
    assert caught.value.problems[0].path == "speculation.draft"
    fits = replace(scenario, parallel=Parallel(tp=2))
    assert prepare(fits).program.layout.tp == 2


# --- what a run says --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run() -> Any:
    return sim.simulate("llama-70b-closed-speculation", sets=["traffic.closed.requests=60"])


def test_a_run_says_what_came_of_it(run: Any) -> None:
    found = run.to_json()["speculation"]
    (outcome,) = run.served.outcomes
    assert found["draft"], found["tokens"] == ("llama-3.2-1b", 4)
    assert found["drafted_tokens"] == 4 * found["verifications"] == 4 * outcome.verified
    assert found["acceptance_rate"] == outcome.accepted_tokens / (4 * outcome.verified)
    assert found["acceptance_length"] == pytest.approx(1.0 + 4 * found["acceptance_rate"])
    assert found["acceptance_length"] == pytest.approx(found["expected_length"], rel=0.03)
    rows = run.ops[run.ops["operator"].str.startswith("draft.")]
    busy = run.breakdown["busy_s"]
    assert found["draft_time_share"] == pytest.approx(rows["time_s"].sum() / busy, rel=1e-9)
    joules = rows["energy_J"].sum() / run.ops["energy_J"].sum()
    assert found["draft_energy_share"] == pytest.approx(joules, rel=1e-9)


def test_steady_speed_up_is_what_two_runs_have(run: Any) -> None:
    """Without prompts in between the two would be equal; they take a part of the time here."""
    plain = sim.simulate(
        "llama-70b-closed-speculation", sets=["traffic.closed.requests=60", "speculation=null"]
    )
    assert "speculation" not in plain.accounts
    measured = plain.metrics["tpot_s"]["mean"] / run.metrics["tpot_s"]["mean"]
    steady = run.accounts["speculation"]["steady"]
    assert steady["speedup"] == pytest.approx(
        run.accounts["speculation"]["expected_length"] * steady["plain_s"] / steady["step_s"],
        rel=1e-12,
    )
    assert 1.5 < measured < steady["speedup"]


def test_gaps_are_between_steps(run: Any) -> None:
    """Tokens of one step come together: fewer gaps than tokens, each as long as an iteration."""
    (outcome,) = run.served.outcomes
    assert outcome.gaps[:, 1].sum() < 0.5 * outcome.generated_tokens
    assert run.metrics["tbt_s"]["p50"] > 2.0 * run.metrics["tpot_s"]["p50"]


def test_explain_shows_the_draft_as_often_as_it_runs() -> None:
    step = explain("llama-70b-closed-speculation", sequences=8, context=1000)
    assert step.batch["tokens"] == 40
    assert step.batch["drafted_tokens"] == 32
    rows = {row["operator"]: row for row in step.rows}
    assert rows["draft.qkv"]["layers"] == 4 * 16
    assert rows["draft.qkv"]["tokens"] == 8
    assert rows["qkv"]["tokens"] == 40
    total = sum(row["time_s"] for row in step.rows) + step.host_s
    assert math.isclose(total, step.seconds, rel_tol=1e-9)
    prompt = explain("llama-70b-closed-speculation", phase="prefill")
    assert {row["layers"] for row in prompt.rows if row["operator"] == "draft.qkv"} == {16}


def test_the_terminal_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["run", "llama-70b-closed-speculation", "--set", "traffic.closed.requests=30"])
    told = " ".join(capsys.readouterr().out.split())
    assert "Speculation: llama-3.2-1b drafts 4 tokens" in told
    assert "without speculation" in told


def test_a_study_drafts_more_or_fewer_tokens() -> None:
    study = {
        "title": "Tokens to draft",
        "base": "llama-70b-closed-speculation",
        "load": {"input": 512, "output": 128},
        "axes": [
            {"path": "speculation.tokens", "values": [0, 2, 4]},
            {"path": "load.batch", "values": [1, 256]},
        ],
        "objectives": {"tpot_s": "min"},
    }
    table = sim.sweep(study).frame.pivot(
        index="speculation.tokens", columns="load.batch", values="tpot_s"
    )
    few, lots = (table[batch] for batch in table.columns)
    assert few.iloc[2] < few.iloc[1] < few.iloc[0]
    assert lots.iloc[2] > lots.iloc[0]


def test_a_fleet_and_replicas_accept_what_one_system_does() -> None:
    """What is accepted of a request depends on nothing but the request and how far it is."""
    more = ["traffic.limit=60"]
    alone = sim.simulate(CHAT, sets=more, speculation=DRAFT)
    fleet = sim.simulate(CHAT, sets=more, speculation=DRAFT, fleet={"replicas": 3})
    wide = sim.simulate(CHAT, sets=[*more, "system=h100-x2", "parallel.tp=1"], speculation=DRAFT)
    for other in (fleet, wide):
        for name in ("verifications", "accepted_tokens"):
            assert other.accounts["speculation"][name] == alone.accounts["speculation"][name]


def test_pools_apart_send_the_draft_cache_too() -> None:
    """And accept what one system does."""
    more = ["traffic.limit=60"]
    base = "llama-70b-disaggregated"
    apart = sim.simulate(base, sets=more, speculation=DRAFT)
    plain = sim.simulate(base, sets=more)
    sent = [run.accounts["fleet"]["transfer"]["bytes"] for run in (apart, plain)]
    assert sent[0] / sent[1] == pytest.approx(1.0 + (16 * 8 * 64) / (80 * 8 * 128), rel=1e-9)
    alone = sim.simulate(
        "llama-70b-closed-speculation", sets=["traffic={trace: azure-like-2k, limit: 60}"]
    )
    for name in ("verifications", "accepted_tokens"):
        assert apart.accounts["speculation"][name] == alone.accounts["speculation"][name]


def test_a_run_in_which_it_does_not_pay_says_so() -> None:
    run = sim.simulate(CHAT, speculation={**DRAFT, "acceptance": 0.1}, sets=["traffic.limit=20"])
    assert any("speculation does not pay" in each for each in run.cautions)
