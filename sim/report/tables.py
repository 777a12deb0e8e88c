"""Tables of a run and of several compared, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sim.report.bands import ALIKE, band_lines, band_table, within
from sim.results.bands.band import alike
from sim.results.metrics import COMPARED, DISTRIBUTIONS, IN_RESULT
from sim.results.quantity import digits, quantity, share, si
from sim.results.statistics import STATISTICS

if TYPE_CHECKING:
    from sim.results import blocks
    from sim.results.blocks import Block
    from sim.results.comparison import Comparison
    from sim.results.conclusion import Conclusion
    from sim.results.reasons import Reason
    from sim.results.run import Run
    from sim.scenario import Scenario


def table(title: str, *columns: str, left: int = 1) -> Table:
    """An empty table; the first `left` columns hold words, the rest numbers."""
    empty = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for index, name in enumerate(columns):
        empty.add_column(name, justify="left" if index < left else "right", overflow="fold")
    return empty


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    rule = "|" + " --- |" * len(columns)
    return [f"| {' | '.join(columns)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]


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
        _totals(run),
        *band_lines(run.bands),
        *block_lines(run.of_service),
        reason_table(run, reasons),
        *block_lines(run.of_hardware),
        *caution_lines(run),
        provenance_line(run.to_json()["provenance"]),
    )


def _heading(run: Run) -> list[RenderableType]:
    result = run.to_json()
    scenario, requests, mapping = run.scenario, result["requests"], result["mapping"]
    layout = ", ".join(f"{key} {mapping[key]}" for key in ("tp", "pp", "ep", "dp"))
    groups, replicas = run.outcomes.groups, run.outcomes.replicas
    if len(groups) > 1:
        layout = f"{len(replicas)} replicas in {len(groups)} pools"
    steps = mapping["iterations"]
    tokens = sum(replica.generated_tokens for replica in replicas)
    batch = (
        f"{steps:,} iterations of {digits(tokens / steps if steps else None)} new tokens on average"
    )
    counts = ", ".join(f"{count:,} {name}" for name, count in requests.items())
    what = "Requests" if "samples" not in run.accounts else "Answers"
    return [
        Text(f"{scenario.name}: {scenario.model.title} on {run.systems}", style="bold"),
        Text(f"{layout}; {_policy(scenario)}; seed {scenario.seed}"),
        Text(f"{what}: {counts}; {batch}"),
    ]


def _policy(scenario: Scenario) -> str:
    """The scheduler, and the serving framework whose times it has, if one is named."""
    scheduler = scenario.scheduler
    kind = scheduler.kind if scheduler.policy is None else "a policy of your own"
    return kind if scenario.runtime is None else f"{kind}; {scenario.runtime.name}"


def _latency_table(run: Run) -> Table:
    shown = table("Latency", "", *STATISTICS, "(p50)")
    for metric in DISTRIBUTIONS.values():
        values = run.metrics[metric.key]
        band = run.bands.get(metric.column("p50").name)
        shown.add_row(
            metric.title,
            *(quantity(values[statistic], metric.unit) for statistic in metric.statistics),
            within(band, metric.unit),
        )
    return shown


def _totals(run: Run) -> Table:
    """Rates, energy and cost, with their bands or, of costs, the ends of their inputs."""
    shown = table("Rates, energy and cost of owning the system for its life", "", "", "low to high")
    counted = "answers" if "samples" in run.accounts else "requests"
    for metric in IN_RESULT:
        value = run.metrics[metric.key]
        if metric.statistics or value is None:
            continue
        unit = metric.unit.replace("requests", counted)
        ends = [run.row[end] for end in metric.column("").ends if end in run.row]
        band = run.bands.get(metric.key)
        shown.add_row(
            metric.title,
            quantity(value, unit),
            " to ".join(quantity(end, unit) for end in ends) if ends else within(band, unit),
        )
    return shown


def block_lines(printed: Iterable[Block]) -> Iterator[RenderableType]:
    """What accounts print, as text and tables."""
    for block in printed:
        for line in block.lines:
            yield Text(line) if isinstance(line, str) else _table_of(line)


def _table_of(printed: blocks.Table) -> Table:
    shown = table(printed.title, *printed.columns, left=printed.left)
    for row in printed.rows:
        shown.add_row(*row)
    return shown


def reason_table(run: Run, reasons: Sequence[Reason]) -> Table:
    """Which unit ran what, for what share of the busy time and energy, and why."""
    shown = table(
        f"Which unit ran what on {run.systems}, and why", "class", "unit", "why",
        "time", "energy", left=3,
    )  # fmt: skip
    for reason in reasons:
        shown.add_row(
            reason.operator_class,
            reason.unit,
            reason.why,
            share(reason.time_share),
            share(reason.energy_share),
        )
    return shown


def caution_lines(run: Run) -> list[Text]:
    """What a reader should know, one line each."""
    return [Text(f"Caution: {each}.", style="yellow") for each in run.cautions]


def provenance_line(provenance: Mapping[str, Any]) -> Text:
    """One line on what the numbers rest on."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in provenance["constants"].items())
    return Text(
        f"Constants by source: {kinds or 'none'}; `--json` lists every source.",
        style="dim",
    )


def compare_report(comparison: Comparison, reasons: Sequence[Sequence[Reason]]) -> RenderableType:
    """Systems side by side, ratios to the first in brackets, then who ran what on each.

    Then what would change the conclusion, and why systems that cannot run it don't.
    """
    runs = comparison.runs
    first, conclusion = runs[0], comparison.conclusion
    compared = table(
        f"{first.scenario.model.title}, {first.scenario.name}",
        "",
        *(run.scenario.system.name for run in runs),
    )
    marked = False
    for column in COMPARED:
        values = [run.row[column.name] for run in runs]
        bands = [run.bands.get(column.name) for run in runs]
        cells = [_with_ratio(value, values[0], column.unit) for value in values]
        marks = [
            f" {ALIKE}" if alike(band, value, bands[0], values[0]) else ""
            for band, value in zip(bands, values, strict=True)
        ]
        marked = marked or any(marks)
        compared.add_row(
            column.text, *(cell + mark for cell, mark in zip(cells, marks, strict=True))
        )
    counts = [run.to_json()["requests"] for run in runs]
    compared.add_row(
        "completed", *(f"{count['completed']:,} of {count['arrived']:,}" for count in counts)
    )
    for bound in ("compute", "memory", "link", "overhead"):
        compared.add_row(f"{bound}-bound time", *(share(run.bound[bound]) for run in runs))
    joules = [1e6 * run.row["energy_J_per_tok"] for run in runs]
    compared.add_row("J per million tokens", *(si(value, "J") for value in joules))
    for name, key in (("USD, low to high", "usd_per_Mtok"), ("kgCO2e, low to high",
                                                             "kgCO2e_per_Mtok")):  # fmt: skip
        compared.add_row(name, *(_ends(run.cost[key]) for run in runs))
    prices = ["-" if run.owned is None else run.owned.ledger.basis for run in runs]
    compared.add_row("devices at", *prices)
    tables = [_bands(runs, marked=marked)]
    tables += [reason_table(run, why) for run, why in zip(runs, reasons, strict=True)]
    tables += [] if conclusion is None else [conclusion_table(conclusion)]
    notes = [Text(f"{name}: infeasible. {error.reason}")
             for name, error in comparison.refused.items()]  # fmt: skip
    notes += [Text(f"{run.scenario.system.name}: cost unknown. {run.cost['unknown']}")
              for run in runs if run.cost["unknown"]]  # fmt: skip
    for run in runs:
        notes += [Text(f"{run.scenario.system.name}:"), *caution_lines(run)] if run.cautions else []
        line = provenance_line(run.to_json()["provenance"])
        notes.append(Text(f"{run.scenario.system.name}. ").append_text(line))
    return Group(compared, *tables, *notes)


def _bands(runs: Sequence[Run], *, marked: bool) -> Table:
    """What metrics may be off by, of each system."""
    note = f"; {ALIKE}: within the bands, not distinguishable from the first" if marked else ""
    empty = table(
        f"10 to 90 % of what measurements were beside predictions like these{note}", "",
        *(run.scenario.system.name for run in runs),
    )  # fmt: skip
    return band_table(runs, [each for each in COMPARED if each.statistic != "p99"], empty)


def _ends(bounds: Mapping[str, float] | None) -> str:
    return "-" if bounds is None else f"{digits(bounds['low'])} to {digits(bounds['high'])}"


def conclusion_table(conclusion: Conclusion, most: int = 5) -> Table:
    """The inputs that move the conclusion most, one at a time between their ends."""
    shown = table(
        f"USD a token: {conclusion.winner} is cheapest, {conclusion.second} costs "
        f"{conclusion.ratio:.3g} times as much (both at cost: {conclusion.ratio_at_cost:.3g}). "
        f"What moves that ratio most; below 1 {conclusion.second} would be cheapest",
        "input", "cheap end", "dear end", "ratio, cheap", "ratio, dear",
    )  # fmt: skip
    for move in conclusion.moves[:most]:
        shown.add_row(
            move.name, digits(move.cheap), digits(move.dear), digits(move.ratio_cheap),
            digits(move.ratio_dear),
        )  # fmt: skip
    return shown


def _with_ratio(value: float, first: float, unit: str) -> str:
    text = quantity(value, unit)
    if math.isnan(value) or not first or math.isnan(first) or value == first:
        return text
    return f"{text} ({value / first:.2f}x)"
