"""Does each tenant of a trace get its latencies and its part of energy, money and carbon?"""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.errors import ConfigError
from sim.results.simulate import simulate
from sim.workload.traffic.arrivals import select
from sim.workload.traffic.readers import read_trace, write_trace
from sim.workload.traffic.summary import summary

HEADER = "arrival_s,context_tokens,generated_tokens,tenant\n"
ROWS = '0,500,20,acme\n0.1,100,200,"b, co"\n0.2,900,10,acme\n0.3,7,0,gone\n0.4,100,10,c\n'
ALL = {"acme": 2, "b, co": 1, "c": 1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "some.csv"
    path.write_text(HEADER + ROWS, encoding="utf-8")
    return path


def test_names_are_read_counted_and_written_again(path: Path) -> None:
    trace = read_trace(path)
    assert summary(trace)["tenants"] == ALL
    write_trace(trace, path.with_name("again.csv"))
    assert summary(read_trace(path.with_name("again.csv")))["tenants"] == ALL
    assert summary(select(trace, limit=1))["tenants"] == {"acme": 1}


def test_names_in_json_lines_are_texts_or_numbers(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    row = '{"timestamp": %d, "input_length": 5, "output_length": 2, "tenant_id": %s}\n'
    path.write_text(row % (0, '"a"') + row % (10, "7") + row % (20, '"a"'))
    assert summary(read_trace(path))["tenants"] == {"a": 2, "7": 1}
    path.write_text(row % (0, '"a"') + row % (10, "[1]"))
    with pytest.raises(ConfigError, match="no name") as raised:
        read_trace(path)
    assert raised.value.problems[0].line == 2


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (HEADER + "0,5,2,a\n1,5,2, \n", 3, "is empty: a name is due"),
        (HEADER.replace("tenant", "tennant") + "0,5,2,a\n", 1, "did you mean 'tenant'?"),
    ],
)
def test_what_is_no_name_is_told(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_trace(path)
    (problem,) = raised.value.problems
    assert problem.line == line
    assert said in problem.message


@pytest.mark.parametrize(
    "sets",
    [[], ["disaggregate={prefill: {}, decode: {}, link: {bandwidth: 50 GB/s, latency: 10 us}}"]],
    ids=str,
)
def test_shares_add_up_to_the_run(path: Path, sets: list[str]) -> None:
    run = simulate("llama-8b-azure-h100", sets=[f"traffic={{trace: {path}}}", *sets])
    rows = {row["tenant"]: row for row in run.accounts["tenants"]}
    frame = run.requests
    assert rows.keys() == ALL.keys()
    assert frame["tenant"].value_counts().to_dict() == ALL
    for name, row in rows.items():
        own = frame[frame["tenant"] == name]
        assert row["completed"] == len(own)
        assert row["ttft_s"]["p50"] == pytest.approx(own["ttft_s"].median())
        assert row["generated_tokens"] == own["output_tokens"].sum()
        assert row["busy_share"] == pytest.approx(own["busy_s"].sum() / run.outcomes.busy_s)
    operators_J = sum(group.joules.sum() for group in run.outcomes.groups)
    assert frame["joules"].sum() == pytest.approx(operators_J)
    static_J = run.outcomes.static_W * run.outcomes.whole_s
    spent_J = sum(row["energy_J"] for row in rows.values())
    assert spent_J == pytest.approx(operators_J + static_J)
    usd = run.accounts["cost"]["usd_per_Mtok"]["base"] * frame["output_tokens"].sum() / 1e6
    assert sum(row["usd"] for row in rows.values()) == pytest.approx(usd)
    assert rows["b, co"]["busy_share"] > rows["acme"]["busy_share"] > rows["c"]["busy_share"]
    assert "tenants" not in simulate("llama-8b-azure-h100", sets=["traffic.limit=3"]).accounts
