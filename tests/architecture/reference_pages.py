"""Parts of the reference pages that follow from the code.

`python tests/architecture/reference_pages.py` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

from sim.results.metrics import METRICS, Metric

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
BEGIN, END = "<!-- table of metrics: begin -->\n", "<!-- table of metrics: end -->\n"


def metrics_table() -> str:
    """The table of all metrics, in Markdown."""
    lines = ["| name | unit | where | band | definition |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| `{metric.key}` | {metric.unit} | {_where(metric)} | {'yes' if metric.band else ''} | "
        f"{metric.text} |"
        for metric in METRICS
    ]
    return "\n".join(lines) + "\n"


def _where(metric: Metric) -> str:
    """Where a metric exists."""
    places = {
        "run": metric.simulated is not None and metric.in_result,
        "events": metric.simulated is not None,
        "closed-form": metric.steady is not None,
    }
    return ", ".join(place for place, there in places.items() if there)


def written(page: str) -> str:
    """`page` with the table as it should be."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + metrics_table() + END + after


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
