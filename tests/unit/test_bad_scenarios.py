"""Is what is wrong with the newer keys of a scenario one clear error, at the line it is on?"""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.cli import main

BASE = {
    "model": "mixtral-8x7b",
    "system": "h100-x4",
    "traffic": "{trace: azure-like-2k, limit: 5}",
}
LINK = "link: {bandwidth: 50 GB/s, latency: 5 us}"
SESSIONS = "{sessions: {rate: 1 /s, sessions: 3, turns: 2, input: 100, output: 20, KEYS}}"
DRAFT = "{draft: llama-3.2-1b, tokens: 4, acceptance: 0.7}"
DENSE = {"model": "llama-3.1-8b", "system": "h100-x1"}
POOLS = f"{{prefill: {{system: h100-x2}}, decode: {{system: h100-x1}}, {LINK}}}"
TIER = "{name: dram, size: 1 B, bandwidth: 9 GB/s, latency: 1 us}"


def told(
    capsys: pytest.CaptureFixture[str], folder: Path, keys: dict[str, str], *more: str
) -> tuple[int, str]:
    """Exit code and message of a scenario with each of `keys` on a line of its own."""
    path = folder / "case.yaml"
    path.write_text("title: t\n" + "".join(f"{key}: {each}\n" for key, each in keys.items()))
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(path), "--json", *more])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, capsys.readouterr().err.replace(f"{folder}/", "")


MISTAKES: list[tuple[dict[str, str], str, str]] = [
    # found while the run is prepared
    ({"parallel": "{tp: 3}"}, "parallel.tp", "3 does not divide the 32 heads"),
    ({"parallel": "{tp: 4, ep: 3}"}, "parallel.ep", "ep = 4 splits each over 1 of tp = 4 devices"),
    ({"parallel": "{pp: 99, tp: 1}"}, "parallel.pp", "99 stages for 32 layers"),
    ({"placement": "{fc: gpuu}"}, "placement.fc", "it has gpu"),
    ({"scheduler": "{order: priority}"}, "scheduler.order", "write shares, traffic.priorities"),
    ({"scheduler": "{prefix_cache: true}"}, "scheduler.prefix_cache", "`sessions`, a trace with"),
    ({"scheduler": f"{{kv_tiers: [{TIER}]}}"}, "scheduler.kv_tiers", "prefix_cache true"),
    ({"fleet": "{replicas: 2, route: prefix}"}, "fleet.route", "scheduler.prefix_cache: true"),
    ({"fleet": "{replicas: 2, slowdown: [{replica: 7, factor: 2}]}"}, "fleet.slowdown", "0 to 1"),
    ({"fleet": "[{system: h100-x4}, {system: h100-x4, parallel: {tp: 3}}]"},
     "fleet.1.parallel.tp", "3 does not divide the 32 heads"),
    ({**DENSE, "disaggregate": POOLS.replace("x2", "x2, parallel: {tp: 3}")},
     "disaggregate.prefill.parallel.tp", "3 does not divide the 32 heads"),
    ({**DENSE, "speculation": DRAFT, "scheduler": "{kind: layered-prefill}"}, "speculation",
     "take another kind"),
    # speculation
    ({"speculation": DRAFT.replace("1b", "1bb")}, "speculation.draft", "mean 'llama-3.2-1b'?"),
    ({"speculation": DRAFT.replace("llama-3.2-1b", "mpt")}, "speculation.draft", "mean 'mtp'?"),
    ({"speculation": DRAFT.replace("tokens", "tokns")}, "speculation.tokns", "mean 'tokens'?"),
    ({"speculation": DRAFT.replace("0.7", "[0.7, 0.6]")}, "speculation.acceptance", "one each"),
    # caches in groups, swapped, and in tiers
    ({"dtype": "{kv: {code: int4, group: 32}}"}, "dtype.kv.code", "did you mean 'codes'?"),
    ({"dtype": "{kv: {codes: int5, group: 32}}"}, "dtype.kv.codes", "did you mean 'int8'?"),
    ({"scheduler": "{prefix_cache: yes}"}, "scheduler.prefix_cache", "true or false is due"),
    ({"scheduler": "{preemption: swapp}"}, "scheduler.preemption", "did you mean 'swap'?"),
    ({"scheduler": "{preemption: swap, host: {memroy: 9 GB}}"}, "scheduler.host.memroy",
     "did you mean 'memory'?"),
    ({"scheduler": "{kv_loads: layerwize}"}, "scheduler.kv_loads", "did you mean 'layerwise'?"),
    ({"scheduler": f"{{prefix_cache: true, kv_tiers: [{TIER}, {TIER}]}}",
      "traffic": SESSIONS.replace(", KEYS", "")},
     "scheduler.kv_tiers.1.name", "'dram' is the name of another tier too"),
    # experts and where they run
    ({"parallel": "{experts: {placement: balance}}"}, "parallel.experts.placement", "'balanced'?"),
    ({"parallel": "{tp: 4, ep: 4, experts: {redundant: 3}}"}, "parallel.experts.redundant",
     "8 + 3 experts do not fill 4 ranks evenly: 0 or 4 would"),
    ({"split": f"{{experts: h100-x3, {LINK}}}"}, "split.experts.count",
     "take 2 of them, or fill up with copies, parallel.experts: {redundant: 1}"),
    ({"split": f"{{experts: h100-x4, {LINK}}}", "parallel": "{experts: {redundant: 2}}"},
     "parallel.experts.redundant", "do not fill the 4 devices of h100-x4 evenly: 0 or 4 would"),
    ({"split": f"{{experts: h100-x4, {LINK}}}", "parallel": "{experts: {redundant: 99}}"},
     "parallel.experts.redundant", "24 already put all 8 experts on each of the 4 devices"),
    ({"split": f"{{experts: h100-x4, {LINK}}}", "parallel": "{tp: 2}"}, "parallel", "that make 4"),
    ({"split": f"{{experts: h1000-x4, {LINK}}}"}, "split.experts", "did you mean 'h100-x4'?"),
    ({"split": "{experts: h100-x4, link: nvlink}"}, "split.link", "a mapping (key: value) is due"),
    # fleets that grow
    ({"fleet": "{autoscale: {min: 1, max: 3, taget: 5, start_up: 9 s}}"}, "fleet.autoscale.taget",
     "did you mean 'target'?"),
    ({"fleet": "{autoscale: {min: 1, max: 3, target: 5}}"}, "fleet.autoscale", "start_up: 60 s"),
    ({"fleet": "{autoscale: {min: 9, max: 3, target: 5, start_up: 9 s}}"}, "fleet.autoscale.min",
     "9 is more than max: 3"),
    ({**DENSE, "system": "h100-x2", "parallel": "{tp: 1}",
      "fleet": "{autoscale: {min: 1, max: 3, target: 5, start_up: 9 s}}"}, "fleet.autoscale",
     "set parallel.dp: 1"),
    # classes, sessions, windows
    ({"traffic": "{trace: azure-like-2k, priorities: {0: 0.3, 1: 0.3}}"}, "traffic.priorities",
     "shares add up to 0.6: 1 is due"),
    ({"traffic": "{trace: azure-like-2k, priorities: {0: 0.3, 00: 0.7}}"},
     "traffic.priorities.00", "a class is a whole number"),
    ({"traffic": SESSIONS.replace("KEYS", "wait: maybe")}, "traffic.sessions.wait", "is due"),
    ({"traffic": SESSIONS.replace("KEYS", "wait: true, pace: 1 ms")}, "traffic.sessions.pace",
     "leave it out"),
    ({"traffic": SESSIONS.replace("KEYS", "thinks: 1 s")}, "traffic.sessions.thinks", "'think'?"),
    ({"traffic": "{trace: azure-like-2k, window: [5 s, 1 s]}"}, "traffic.window", "a later end"),
    ({"traffic": "{poisson: {rate: 1 /s, requests: 3, input: {empirical: no.csv}}}"}, "traffic",
     "no.csv: no such file"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "path", "said"), MISTAKES)
def test_a_mistake_is_told_where_it_is(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    keys: dict[str, str],
    path: str,
    said: str,
) -> None:
    case = {**BASE, **keys}
    if "disaggregate" in keys or keys.get("fleet", "").startswith("["):
        del case["system"]
    code, err = told(capsys, tmp_path, case)
    line = list(case).index(path.split(".")[0]) + 2
    (found,) = [each for each in err.splitlines() if f": {path}: " in each]
    assert code == 2
    assert found.startswith(f"error: case.yaml:{line}:")
    assert said in found


def test_a_class_is_told_on_its_own_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shares = "\n  trace: azure-like-2k\n  priorities:\n    0: 0.3\n    1: SHARE"
    for share, place in (("1.5", "8:5: traffic.priorities.1"), ("0.1", "6:3: traffic.priorities")):
        case = {**BASE, "traffic": shares.replace("SHARE", share)}
        code, err = told(capsys, tmp_path, case)
        assert code == 2
        assert err.startswith(f"error: case.yaml:{place}: ")


def test_what_is_set_from_outside_is_told_as_set(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, err = told(capsys, tmp_path, BASE, "--set", "parallel={tp: 3, dp: 1}")
    assert code == 2
    assert (
        err == "error: --set parallel={tp: 3, dp: 1}: parallel.tp: 3 does not divide the 32 heads\n"
    )


IMPOSSIBLE: list[tuple[dict[str, str], str, str]] = [
    ({"split": f"{{experts: hnlpu, {LINK}}}"},
     "split.experts: hnlpu has a whole model in its metal", ""),
    ({"split": f"{{experts: {{device: duplex, count: 4, coprocessing: pe}}, {LINK}}}"},
     "write coprocessing: none", ""),
    ({**DENSE, "scheduler": "{preemption: swap, host: {memory: 1 B}}"},
     "has no room for a block of a swapped cache", "memory_B = 1"),
    ({**DENSE, "scheduler": f"{{prefix_cache: true, kv_tiers: [{TIER}]}}",
      "traffic": SESSIONS.replace(", KEYS", "")}, "has no room for a block", "size_B = 1"),
    ({**DENSE, "speculation": DRAFT.replace("3.2-1b", "3.1-405b")},
     "llama-3.1-8b with its draft (llama-3.1-405b) does not fit", "needed_B = "),
    ({**DENSE, "traffic": "{poisson: {rate: 1 /s, requests: 9007199254740992}}"},
     "more than the 100,000,000", "requests = 9.0072e+15"),
    ({**DENSE, "traffic": "{samples: 1000, poisson: {rate: 1 /s, requests: 99999999}}"},
     "more than the 100,000,000", "requests = "),
    ({**DENSE, "traffic": "{closed: {concurrency: 9007199254740992, requests: 9}}"},
     "more than the 100,000,000", "most = 1e+08"),
    ({**DENSE, "traffic": SESSIONS.replace("turns: 2", "turns: 99999999999").replace(", KEYS", "")},
     "more than the 100,000,000", "requests = "),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "said", "numbers"), IMPOSSIBLE)
def test_what_cannot_be_says_why(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    keys: dict[str, str],
    said: str,
    numbers: str,
) -> None:
    code, err = told(capsys, tmp_path, {**BASE, **keys})
    assert code == 3
    assert "Infeasible: " in err
    assert said in err
    assert numbers in err


REPLICAS = "[fleet.pools.0.replicas, fleet.pools.1.replicas]"
AXES = [
    (f"{{split: {REPLICAS}}}", "axes.0", "`total`, what they add up to"),
    (f"{{split: {REPLICAS}, total: 1}}", "axes.0.split", "as large a total"),
    (f"{{split: {REPLICAS}, totl: 4}}", "axes.0.totl", "did you mean 'total'?"),
    (f"{{split: {REPLICAS}, total: 4, levels: 4}}", "axes.0", "give one or the other"),
    (f"{{split: {REPLICAS.replace('1', '5')}, total: 4}}", "axes.0", "no entry 5: of 2"),
    ("{path: seed, linear: [1, 5], levels: 1000000000}", "axes.0.levels", "100,000 at most"),
    ("{path: scheduler.preemption, values: [swap, recomput]}", "axes.0.values.1", "'recompute'?"),
    ("{path: traffic.priorities, values: [{0: 1}, {0: 0.5}]}", "axes.0.values.1", "add up to 0.5"),
]


@pytest.mark.parametrize(("axis", "path", "said"), AXES)
def test_a_mistake_of_an_axis_is_told_where_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, axis: str, path: str, said: str
) -> None:
    file = tmp_path / "study.yaml"
    pools = "fleet: {pools: [{system: h100-x1}, {system: h200-x1}]}"
    base = f"{{model: llama-3.1-8b, {pools}, traffic: {BASE['traffic']}}}"
    file.write_text(
        f"title: t\nbase: {base}\nfidelity: events\naxes:\n  - {axis}\n"
        "objectives: {ttft_p90_s: min}\n"
    )
    with pytest.raises(SystemExit) as stopped:
        main(["sweep", str(file), "-o", str(tmp_path / "out")])
    (err,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert err.startswith(f"error: {file}:5:")
    assert f": {path}: " in err
    assert said in err
