"""Result columns for people: a label, a unit, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_TIMES: Final = {"ttft": "TTFT", "tbt": "TBT", "tpot": "TPOT", "e2e": "E2E", "step": "Decode step"}
_LABELS: Final = {
    "throughput_tok_per_s": "Throughput",
    "prefill_tok_per_s": "Prompt throughput",
    "request_rate_per_s": "Request rate",
    "goodput_req_per_s": "Goodput",
    "energy_J": "Energy",
    "energy_J_per_tok": "Energy per token",
    "power_W": "Power",
    "cost_usd_per_Mtok": "Cost",
    "cost_usd_per_Mtok_low": "Cost, low",
    "cost_usd_per_Mtok_high": "Cost, high",
    "carbon_kgCO2e_per_Mtok": "Carbon",
    "capex_usd": "Capital",
    "die_area_mm2": "Die area",
    "kv_share": "KV cache in use",
    "completed": "Completed requests",
    "rejected": "Rejected requests",
}
_UNITS: Final = (
    ("_tok_per_s", "tok/s"), ("_req_per_s", "requests/s"), ("_rate_per_s", "requests/s"),
    ("_J_per_tok", "J/tok"), ("usd_per_Mtok", "USD/Mtok"), ("kgCO2e_per_Mtok", "kgCO2e/Mtok"),
    ("_usd", "USD"), ("_mm2", "mm²"), ("_J", "J"), ("_W", "W"), ("_s", "s"),
)  # fmt: skip
_WANTED_HIGH: Final = ("tok_per_s", "rate_per_s", "req_per_s", "completed")
_NEITHER: Final = ("kv_share",)


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a column is called, its unit ("" for shares and counts), and "min", "max" or ""."""

    name: str
    text: str
    unit: str
    better: str

    @property
    def titled(self) -> str:
        """Text and unit, as an axis of a plot has it."""
        return f"{self.text} ({self.unit})" if self.unit else self.text


def label_of(column: str, objectives: dict[str, str] | None = None) -> Label:
    """The label of a result column; an objective is wanted as the study says."""
    plain = column.removesuffix("_low").removesuffix("_high")
    unit = next((unit for end, unit in _UNITS if plain.endswith(end)), "")
    better = "max" if plain.endswith(_WANTED_HIGH) else "min"
    better = "" if plain in _NEITHER else better
    return Label(
        name=column, text=_text(column), unit=unit, better=(objectives or {}).get(column, better)
    )


def _text(column: str) -> str:
    if column in _LABELS:
        return _LABELS[column]
    first, *rest = column.removesuffix("_s").split("_")
    return " ".join([_TIMES[first], *rest]) if first in _TIMES else column
