"""What the program answers, as digests: written by `python tests/architecture/contracts.py`.

`python tests/architecture/contracts.py FOLDER` writes the answers themselves into a folder as well,
to be compared with those of another commit (`diff -r`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DIGESTS = Path(__file__).with_name("contracts.json")

TRACE = ("traffic.limit=80",)
SMALL: dict[str, tuple[str, ...]] = {
    "deepseek-v3-h100": ("traffic.closed.concurrency=64", "traffic.closed.requests=96"),
    "encoder-ethos-u55": ("traffic.poisson.requests=20",),
    "llama-1b-ethos-u55": (),
    "llama-1b-pi5": ("traffic.closed.requests=4",),
    "llama-3b-orin-nano": ("traffic.closed.requests=4",),
    "llama-3b-phone": ("traffic.closed.requests=4",),
    "llama-70b-closed-h100": ("traffic.closed.concurrency=16", "traffic.closed.requests=60"),
    "llama-70b-closed-speculation": ("traffic.closed.requests=24",),
    "llama-8b-sessions-offload": ("traffic.sessions.sessions=20",),
}
"""Changes that make a shipped scenario quick; every other one replays a part of a trace."""

SYSTEMS: dict[str, tuple[str, ...]] = {
    "mixtral-azure-duplex": ("h100-x4", "duplex-x4"),
    "gpt-oss-azure": ("h100-x8", "duplex-x4", "hnlpu-x16"),
    "llama-8b-azure-h100": ("h100", "l40s", "raspberry-pi-5"),
}
"""Systems that `sim compare` is asked for; elsewhere the scenario's."""

VARIANTS: dict[str, tuple[str, ...]] = {
    "llama-8b-azure-h100/layered": ("scheduler.kind=layered-prefill", "scheduler.groups=4"),
    "llama-8b-azure-h100/static": ("scheduler.kind=static",),
    "llama-8b-azure-h100/prefill-first": ("scheduler.kind=prefill-first",),
    "llama-8b-azure-h100/samples": ("traffic.samples=2", "scheduler.prefix_cache=true"),
    "llama-8b-azure-h100/fleet": ("fleet={replicas: 2, route: least-loaded}",),
    "llama-8b-azure-h100/lean": ("techniques=[{kind: token-pruning, layer: 8, keep: 0.5}]",),
    "mixtral-azure-duplex/pe": ("system.coprocessing=pe",),
    "mixtral-azure-h100/pp": ("parallel={tp: 2, pp: 2}",),
    "mixtral-azure-h100/ep": ("parallel={tp: 4, ep: 4}",),
}
"""Kinds of runs that no shipped scenario has."""

SHOWN = (
    *("h100-sxm", "duplex", "hnlpu-x16", "h100-x8", "raspberry-pi-5", "hbm3"),
    *("mixtral-8x7b", "jamba-v0.1", "azure-like-2k", "llama-70b-disaggregated"),
)

STUDY = """\
title: what the contracts record
base: mixtral-azure-duplex
load: {output: 256}
axes:
  - zip:
      system: [h100-x4, duplex-x4, duplex-x4]
      system.coprocessing: [none, none, pe]
  - {path: load.batch, values: [1, 32]}
  - {path: load.input, values: [256, 4096]}
constraints: ["tpot_s <= 0.1"]
objectives: {tpot_s: min, energy_J_per_tok: min, cost_usd_per_Mtok: min}
per: [load.batch]
"""

WRONG: dict[str, str] = {
    "unknown-model": "model: mixtral-8x7bb\nsystem: h100-x4\ntraffic: {trace: azure-like-2k}\n",
    "unknown-key": "model: llama-3.1-8b\nsytem: h100\ntraffic: {trace: azure-like-2k}\n",
    "bare-number": "model: llama-3.1-8b\nsystem: h100\ntraffic: {trace: azure-like-2k}\n"
    "slo: {ttft: 5}\n",
    "wrong-unit": "model: llama-3.1-8b\nsystem: h100\ntraffic: {trace: azure-like-2k}\n"
    "slo: {ttft: 5 GB}\n",
    "negative": "model: llama-3.1-8b\nsystem: h100\ntraffic:\n  trace: azure-like-2k\n"
    "  rate_scale: -1\n",
    "two-forms": "model: llama-3.1-8b\nsystem: h100\ntraffic: {trace: azure-like-2k, "
    "poisson: {rate: 1 /s, requests: 3}}\n",
    "choice": "model: llama-3.1-8b\nsystem: h100\ntraffic: {trace: azure-like-2k}\n"
    "scheduler: {kind: continuos}\n",
    "several": "model: llama-3.1-8b\nsystem: h100\ntraffic: {trace: azure-like-2k, limit: no}\n"
    "scheduler: {max_batch: 0, kv_block: x}\nparallel: {tp: -2}\n",
    "heads": "model: llama-3.1-8b\nsystem: h100-x4\nparallel: {tp: 3}\n"
    "traffic: {trace: azure-like-2k}\n",
    "duplicate": "model: llama-3.1-8b\nmodel: llama-3.1-8b\nsystem: h100\n"
    "traffic: {trace: azure-like-2k}\n",
    "too-large": "model: llama-3.1-405b\nsystem: h100\ntraffic: {trace: azure-like-2k}\n",
    "inline-device": "model: llama-3.1-8b\nsystem:\n  name: mine\n  count: 1\n  device:\n"
    "    extends: h100-sxm\n    memories: {hbm: {bandwith: 4 TB/s}}\n"
    "traffic: {trace: azure-like-2k}\n",
    "inline-memory": "model: llama-3.1-8b\nsystem:\n  name: mine\n  count: 1\n  device:\n"
    "    extends: h100-sxm\n    memories: {hbm: {bandwidth: -4 TB/s}}\n"
    "traffic: {trace: azure-like-2k}\n",
    "technique": "model: llama-3.1-8b\nsystem: h100\ntraffic: {trace: azure-like-2k}\n"
    "techniques: [{kind: token-pruning, layer: 99, keep: 0.2}]\n",
    "fleet": "model: llama-3.1-8b\nsystem: h100\ntraffic: {trace: azure-like-2k}\n"
    "fleet: {replicas: 2, slowdown: [{replica: 7, factor: 2}]}\n",
    "syntax": "model: llama-3.1-8b\nsystem: [h100\ntraffic: {trace: azure-like-2k}\n",
}
"""Scenarios with mistakes: the exit code and the places of their errors are recorded."""


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, run in this process."""
    from sim.cli import main

    out, err = io.StringIO(), io.StringIO()
    code: int | str | None = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as stopped:
            code = stopped.code
    return int(code or 0), out.getvalue(), err.getvalue()


def rounded(value: Any) -> Any:
    """The value with nine digits of each number: processors differ in the last ones."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


def digest(value: Any) -> str:
    """A short digest of a JSON value, its numbers rounded."""
    text = json.dumps(rounded(value), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def scenario_answers() -> Iterator[tuple[str, Any]]:
    """`run`, `explain` and `compare` of every shipped scenario, by name of the answer."""
    shipped = Path(__file__).parents[2] / "workloads" / "scenarios"
    for name in sorted(path.stem for path in shipped.glob("*.yaml")):
        yield from _answers(name, name, SMALL.get(name, TRACE))
    for name, changes in VARIANTS.items():
        scenario = name.split("/")[0]
        code, out, err = call("run", scenario, "--json", *_sets((*TRACE, *changes)))
        yield f"run {name}", json.loads(out) if code == 0 else [code, err]


def _answers(name: str, scenario: str, changes: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    systems = [part for each in SYSTEMS.get(name, ()) for part in ("--system", each)]
    for command in ("run", "explain", "explain --phase prefill", "compare"):
        extra = systems if command == "compare" else []
        code, out, err = call(*command.split(), scenario, "--json", *_sets(changes), *extra)
        yield f"{command} {name}", json.loads(out) if code == 0 else [code, err]


def _sets(changes: tuple[str, ...]) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


def other_answers(folder: Path) -> Iterator[tuple[str, Any]]:
    """What the library shows, a study's table, the schema's keys, and places of errors."""
    import pyarrow.parquet as pq

    for name in SHOWN:
        code, out, err = call("show", name, "--json")
        yield f"show {name}", json.loads(out) if code == 0 else [code, err]
    for name in ("h100-x8", "hnlpu-x16", "duplex-x4"):
        yield f"cost {name}", json.loads(call("cost", name, "--json")[1])
    yield "schema", sorted(set(_keys(json.loads(call("schema")[1]))))
    study = folder / "study.yaml"
    study.write_text(STUDY)
    code, _, err = call("sweep", str(study), "-o", str(folder / "results"), "--workers", "1")
    if code != 0:
        raise RuntimeError(err)
    parts = sorted((folder / "results").rglob("*.parquet"))
    rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
    yield "study", {key: [row[key] for row in rows] for key in rows[0]}
    for name, text in WRONG.items():
        path = folder / "case.yaml"
        path.write_text(text)
        code, _, err = call("run", str(path), "--json")
        told = [line.replace(f"{folder}/", "") for line in err.splitlines()]
        yield f"error {name}", {"exit": code, "places": [_place(line) for line in told]}


def _place(line: str) -> str:
    """File, line, column and path of a printed error; the message is free to improve."""
    return ": ".join(line.split(": ")[:3]) if line.startswith("error: ") else line.split(":")[0]


def _keys(schema: Any, form: str = "") -> Iterator[str]:
    """Keys that a form of the schema knows, wherever in it they stand."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties" and isinstance(value, dict):
                yield from (f"{form} {name}" for name in value)
            # a form of its own is named by the file it is of, not by its class
            yield from _keys(value, form or key)
    elif isinstance(schema, list):
        for each in schema:
            yield from _keys(each, form)


def answers() -> dict[str, Any]:
    """All answers by name."""
    with tempfile.TemporaryDirectory() as folder:
        return {**dict(scenario_answers()), **dict(other_answers(Path(folder)))}


def digests(of: dict[str, Any]) -> dict[str, Any]:
    """A digest of each part of each answer."""
    return {
        name: {key: digest(part) for key, part in value.items()}
        if isinstance(value, dict)
        else digest(value)
        for name, value in of.items()
    }


if __name__ == "__main__":
    found = answers()
    if len(sys.argv) > 1:
        into = Path(sys.argv[1])
        into.mkdir(parents=True, exist_ok=True)
        for name, value in found.items():
            text = json.dumps(rounded(value), indent=1, sort_keys=True, ensure_ascii=False)
            (into / f"{name.replace('/', '+').replace(' ', '_')}.json").write_text(text + "\n")
    else:
        text = json.dumps(digests(found), indent=1, sort_keys=True, ensure_ascii=False)
        DIGESTS.write_text(text + "\n")
