"""Tables of a run and of several compared, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sim.report.bands import ALIKE, alike, band_lines, band_table, bracketed, within
from sim.report.expert_ranks import rank_line, side_lines
from sim.report.offload import swap_line, tier_lines
from sim.report.quantity import UNKNOWN, binary, digits, share, si

if TYPE_CHECKING:
    from sim.results.conclusion import Conclusion
    from sim.results.reasons import Reason
    from sim.results.run import Run
    from sim.scenario import Scenario

LATENCIES = (("TTFT", "ttft_s"), ("TBT", "tbt_s"), ("TPOT", "tpot_s"), ("E2E", "e2e_s"))
COLUMNS = ("mean", "p50", "p90", "p99", "max")


def table(title: str, *columns: str, left: int = 1) -> Table:
    """An empty table; the first `left` columns hold words, the rest numbers."""
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for index, name in enumerate(columns):
        made.add_column(name, justify="left" if index < left else "right", overflow="fold")
    return made


def show(renderable: RenderableType, *, width: int | None = None) -> None:
    """Print to standard output; piped output is wide and has no colours."""
    console = Console(width=width, highlight=False)
    if not console.is_terminal and width is None:
        console = Console(width=140, highlight=False)
    console.print(renderable)


def run_report(run: Run, reasons: Sequence[Reason]) -> RenderableType:
    """Everything `sim run` prints."""
    return Group(
        *_heading(run),
        _latency_table(run),
        *_priorities(run),
        *_samples(run),
        _rate_line(run),
        *band_lines(run.bands),
        *_cost_line(run),
        *_speculation(run),
        *_fleet(run),
        reason_table(run, reasons),
        _bound_line(run),
        _memory_line(run),
        *_offload_lines(run),
        *rank_line(run.expert_ranks),
        *side_lines(run.sides),
        *caution_lines(run),
        provenance_line(run.to_json()["provenance"]),
    )


def _heading(run: Run) -> list[RenderableType]:
    result = run.to_json()
    scenario, requests, mapping = run.scenario, result["requests"], result["mapping"]
    layout = ", ".join(f"{key} {mapping[key]}" for key in ("tp", "pp", "ep", "dp"))
    if len(run.parts) > 1:
        layout = f"{len(run.served.outcomes)} replicas in {len(run.parts)} pools"
    steps = mapping["iterations"]
    tokens = sum(outcome.generated_tokens for outcome in run.served.outcomes)
    batch = (
        f"{steps:,} iterations of {digits(tokens / steps if steps else None)} new tokens on average"
    )
    counts = ", ".join(f"{count:,} {name}" for name, count in requests.items())
    asked = "Requests" if run.samples is None else "Answers"
    return [
        Text(f"{scenario.name}: {scenario.model.title} on {run.systems}", style="bold"),
        Text(f"{layout}; {_policy(scenario)}; seed {scenario.seed}"),
        Text(f"{asked}: {counts}; {batch}"),
    ]


def _policy(scenario: Scenario) -> str:
    """The scheduler, and the serving framework whose times it has, if one is named."""
    own = scenario.scheduler
    kind = own.kind if own.policy is None else "a policy of your own"
    return kind if scenario.runtime is None else f"{kind}; {scenario.runtime.name}"


def _latency_table(run: Run) -> Table:
    made = table("Latency", "", *COLUMNS, "(p50)")
    for name, key in LATENCIES:
        found = run.metrics[key]
        band = run.bands.get(f"{key.removesuffix('_s')}_p50_s")
        made.add_row(name, *(si(found[column], "s") for column in COLUMNS), within(band, "s"))
    return made


def _priorities(run: Run) -> list[RenderableType]:
    """Latency and goodput by class, where requests have priorities."""
    if run.priorities is None:
        return []
    made = table(
        "By priority, the most urgent first", "", "arrived", "completed", "rejected", "TTFT p50",
        "TTFT p99", "TBT mean", "worst gap p99", "goodput", "in SLO",
    )  # fmt: skip
    for row in run.priorities:
        good = row["goodput_req_per_s"]
        made.add_row(
            f"{row['priority']}",
            *(f"{row[name]:,}" for name in ("arrived", "completed", "rejected")),
            si(row["ttft_s"]["p50"], "s"),
            si(row["ttft_s"]["p99"], "s"),
            si(row["tbt_mean_s"], "s"),
            si(row["worst_gap_s"]["p99"], "s"),
            UNKNOWN if good is None else f"{digits(good)}/s",
            share(row["attainment"]),
        )
    return [made]


def _samples(run: Run) -> list[Text]:
    """Requests for several answers as a whole."""
    found = run.samples
    if found is None:
        return []
    ttft, e2e, good = found["ttft_s"], found["e2e_s"], found["goodput_req_per_s"]
    return [
        Text(
            f"Requests of {found['samples_per_request']:g} answers: "
            f"{found['completed']:,} of {found['arrived']:,} completed, "
            f"{digits(found['request_rate_per_s'])}/s; first token of any after "
            f"{si(ttft['p50'], 's')} (p50) and {si(ttft['p99'], 's')} (p99), end of the last after "
            f"{si(e2e['p50'], 's')} and {si(e2e['p99'], 's')}"
            + ("" if good is None else f"; goodput {digits(good)}/s within the SLO")
        )
    ]


def _rate_line(run: Run) -> Text:
    metrics, bands = run.metrics, run.bands
    asked = "requests" if run.samples is None else "answers"
    parts = [
        f"Throughput {digits(metrics['throughput_tok_per_s'])} tok/s generated"
        f"{bracketed(bands.get('throughput_tok_per_s'))}, "
        f"{digits(metrics['prefill_tok_per_s'])} tok/s prefilled, "
        f"{digits(metrics['request_rate_per_s'])} {asked}/s",
        f"Energy {si(metrics['energy_J_per_tok'], 'J')}/tok generated"
        f"{bracketed(bands.get('energy_J_per_tok'), 'J')}, {si(metrics['power_W'], 'W')}"
        f"{bracketed(bands.get('power_W'), 'W')}",
    ]
    if metrics["goodput_req_per_s"] is not None:
        parts.insert(1, f"Goodput {digits(metrics['goodput_req_per_s'])} {asked}/s within the SLO")
    return Text("\n".join(parts))


def _cost_line(run: Run) -> list[Text]:
    """USD and carbon a million tokens with their bounds, where they are known."""
    parts = [
        f"{digits(found['base'])} {unit} ({digits(found['low'])} to {digits(found['high'])})"
        for unit, key in (("USD", "usd_per_Mtok"), ("kgCO2e", "kgCO2e_per_Mtok"))
        if (found := run.cost[key]) is not None
    ]
    if not parts:
        return [Text(f"Cost unknown: {run.cost['unknown']}")] if run.cost["unknown"] else []
    return [Text(f"Owned for its life, a million tokens: {', '.join(parts)}")]


def _speculation(run: Run) -> list[Text]:
    """How many drafted tokens were accepted, and what that was worth."""
    found = run.speculation
    if found is None:
        return []
    parts = [
        f"Speculation: {found['draft']} drafts {found['tokens']} tokens; "
        f"{digits(found['acceptance_length'])} tokens a step come out "
        f"({digits(found['expected_length'])} expected), {share(found['acceptance_rate'])} of the "
        f"drafted ones accepted; the draft takes {share(found['draft_time_share'])} of busy time, "
        f"{share(found['draft_energy_share'])} of operators' energy"
    ]
    steady = found["steady"]
    if steady is not None:
        parts.append(
            f"A step of {steady['sequences']} sequences at {steady['context']:,} tokens takes "
            f"{si(steady['step_s'], 's')}, {si(steady['draft_s'], 's')} of it the draft's, and "
            f"without speculation {si(steady['plain_s'], 's')}: answers come "
            f"{digits(steady['speedup'])} times as fast"
        )
    return [Text("\n".join(parts))]


def _fleet(run: Run) -> list[RenderableType]:
    """Pools and replicas, where there are several."""
    if run.fleet is None:
        return []
    from sim.report.fleet import fleet_report

    return fleet_report(run.fleet)


def reason_table(run: Run, reasons: Sequence[Reason]) -> Table:
    """Which unit ran what, for what share of the busy time and energy, and why."""
    made = table(
        f"Which unit ran what on {run.systems}, and why", "class", "unit", "why",
        "time", "energy", left=3,
    )  # fmt: skip
    for reason in reasons:
        made.add_row(
            reason.operator_class,
            reason.unit,
            reason.why,
            share(reason.time_share),
            share(reason.energy_share),
        )
    return made


def _bound_line(run: Run) -> Text:
    parts = ", ".join(f"{name} {share(value)}" for name, value in run.bound.items())
    return Text(f"Busy time bound by: {parts}")


def _memory_line(run: Run) -> Text:
    memory, cache = run.memory, run.prefix_cache
    found = "" if cache is None else f"; prefix cache: {share(cache['hit_rate'])} of prompt tokens"
    return Text(
        f"Memory of one device{' of each side' if run.sides else ''}: weights "
        f"{binary(memory['weights_B'])}, "
        f"KV cache {binary(memory['kv_peak_B'])} at its peak of "
        f"{binary(memory['kv_capacity_B'])} free, of {binary(memory['capacity_B'])} usable{found}"
    )


def _offload_lines(run: Run) -> list[Text]:
    """What went beyond the memory of devices, where anything can."""
    cache, swap = run.prefix_cache, run.swap
    lines = [] if cache is None or "tiers" not in cache else tier_lines(cache)
    return [Text(line) for line in (*lines, *([] if swap is None else [swap_line(swap)]))]


def caution_lines(run: Run) -> list[Text]:
    """What a reader should know, one line each."""
    return [Text(f"Caution: {each}.", style="yellow") for each in run.cautions]


def provenance_line(provenance: Mapping[str, Any]) -> Text:
    """One line on what the numbers rest on."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in provenance["constants"].items())
    return Text(
        f"Constants by source: {kinds or 'none'}. Estimates are not calibrated yet; "
        "`--json` lists every source.",
        style="dim",
    )


def compare_report(
    runs: Sequence[Run],
    reasons: Sequence[Sequence[Reason]],
    refused: Mapping[str, str] | None = None,
    conclusion: Conclusion | None = None,
) -> RenderableType:
    """Systems side by side, ratios to the first in brackets, then who ran what on each.

    With a `conclusion`, what would change it.

    `refused` says of systems that cannot run it why not.
    """
    first = runs[0]
    made = table(
        f"{first.scenario.model.title}, {first.scenario.name}",
        "",
        *(run.scenario.system.name for run in runs),
    )
    marked = False
    for name, key, column, unit in _compared():
        values = [_pick(run.metrics, key, column) for run in runs]
        bands = [run.bands.get(_flat(key, column)) for run in runs]
        cells = [_with_ratio(value, values[0], unit) for value in values]
        marks = [
            f" {ALIKE}" if alike(band, value, bands[0], values[0]) else ""
            for band, value in zip(bands, values, strict=True)
        ]
        marked = marked or any(marks)
        made.add_row(name, *(cell + mark for cell, mark in zip(cells, marks, strict=True)))
    done = [run.to_json()["requests"] for run in runs]
    made.add_row("completed", *(f"{each['completed']:,} of {each['arrived']:,}" for each in done))
    for bound in ("compute", "memory", "link", "overhead"):
        made.add_row(f"{bound}-bound time", *(share(run.bound[bound]) for run in runs))
    joules = [run.metrics["energy_J_per_tok"] for run in runs]
    made.add_row("J per million tokens", *("-" if j is None else si(1e6 * j, "J") for j in joules))
    for name, key in (("USD, low to high", "usd_per_Mtok"), ("kgCO2e, low to high",
                                                             "kgCO2e_per_Mtok")):  # fmt: skip
        made.add_row(name, *(_ends(run.cost[key]) for run in runs))
    prices = ["-" if run.owned is None else run.owned.ledger.basis for run in runs]
    made.add_row("devices at", *prices)
    tables = [_bands(runs, marked=marked)]
    tables += [reason_table(run, why) for run, why in zip(runs, reasons, strict=True)]
    tables += [] if conclusion is None else [conclusion_table(conclusion)]
    notes = [Text(f"{name}: infeasible. {why}") for name, why in (refused or {}).items()]
    notes += [Text(f"{run.scenario.system.name}: cost unknown. {run.cost['unknown']}")
              for run in runs if run.cost["unknown"]]  # fmt: skip
    for run in runs:
        notes += [Text(f"{run.scenario.system.name}:"), *caution_lines(run)] if run.cautions else []
        line = provenance_line(run.to_json()["provenance"])
        notes.append(Text(f"{run.scenario.system.name}. ").append_text(line))
    return Group(made, *tables, *notes)


def _bands(runs: Sequence[Run], *, marked: bool) -> Table:
    """What metrics may be off by, of each system."""
    note = f"; {ALIKE}: within the bands, not distinguishable from the first" if marked else ""
    made = table(
        f"10 to 90 % of what measurements were beside predictions like these{note}", "",
        *(run.scenario.system.name for run in runs),
    )  # fmt: skip
    rows = [(name, _flat(key, column), unit) for name, key, column, unit in _compared()
            if column != "p99"]  # fmt: skip
    return band_table(runs, rows, made)


def _flat(key: str, column: str | None) -> str:
    """A metric and its statistic as one name, as bands have it."""
    return key if column is None else f"{key.removesuffix('_s')}_{column}_s"


def _ends(found: Mapping[str, float] | None) -> str:
    return "-" if found is None else f"{digits(found['low'])} to {digits(found['high'])}"


def conclusion_table(conclusion: Conclusion, most: int = 5) -> Table:
    """The inputs that move the conclusion most, one at a time between their ends."""
    made = table(
        f"USD a token: {conclusion.winner} is cheapest, {conclusion.second} costs "
        f"{conclusion.ratio:.3g} times as much (both at cost: {conclusion.ratio_at_cost:.3g}). "
        f"What moves that ratio most; below 1 {conclusion.second} would be cheapest",
        "input", "cheap end", "dear end", "ratio, cheap", "ratio, dear",
    )  # fmt: skip
    for move in conclusion.moves[:most]:
        made.add_row(
            move.name, digits(move.cheap), digits(move.dear), digits(move.ratio_cheap),
            digits(move.ratio_dear),
        )  # fmt: skip
    return made


def _compared() -> list[tuple[str, str, str | None, str]]:
    rows: list[tuple[str, str, str | None, str]] = [
        (f"{name} {column}", key, column, "s")
        for name, key in LATENCIES
        for column in ("p50", "p99")
    ]
    return [
        *rows,
        ("throughput, tok/s", "throughput_tok_per_s", None, ""),
        ("goodput, requests/s", "goodput_req_per_s", None, ""),
        ("energy per token", "energy_J_per_tok", None, "J"),
        ("power", "power_W", None, "W"),
        ("USD per million tokens", "cost_usd_per_Mtok", None, ""),
        ("kgCO2e per million tokens", "carbon_kgCO2e_per_Mtok", None, ""),
    ]


def _pick(metrics: Mapping[str, Any], key: str, column: str | None) -> float | None:
    value = metrics[key] if column is None else metrics[key][column]
    return None if value is None else float(value)


def _with_ratio(value: float | None, first: float | None, unit: str) -> str:
    text = si(value, unit) if unit else digits(value)
    if value is None or not first or value == first:
        return text
    return f"{text} ({value / first:.2f}x)"
