"""What `sim run` and `sim explain` say of expert-parallel ranks and of experts apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from sim.report.quantity import binary, digits, share, si


def rank_line(found: Mapping[str, Any] | None) -> list[Text]:
    """How uneven ranks are, what that costs and what they exchange, where there are any."""
    if found is None:
        return []
    copies = f", {found['redundant']} redundant experts" if found["redundant"] else ""
    loads = found["rank_loads"]
    parts = [
        f"{found['ranks']} expert ranks of {found['slots_per_rank']:g} experts "
        f"({found['placement']}{copies}): the busiest has {digits(found['load_imbalance'])} times "
        f"the mean load ({digits(loads[0])} in the long run, the idlest {digits(loads[-1])})"
    ]
    if found["time_lost_s"] is not None:
        parts.append(
            f"waiting for it costs {si(found['time_lost_s'], 's')} "
            f"({share(found['time_lost_share'])})"
        )
    sent = found["all_to_all_B"]
    if isinstance(sent, Mapping) and sent["mean_device"]:
        mean, busiest = (si(sent[f"{which}_device"], "B") for which in ("mean", "busiest"))
        parts.append(f"all-to-all {mean} a device, {busiest} the busiest")
    elif sent and not isinstance(sent, Mapping):
        parts.append(f"all-to-all {si(sent, 'B')} in all")
    return [Text("; ".join(parts) + ".")]


def side_lines(found: Mapping[str, Any] | None) -> list[Text]:
    """What each side takes of a layer, who waits, and what is held where; nothing without sides."""
    if found is None:
        return []
    took, busy = found["layer_s"], found["busy_share"]
    names = (name.replace("_", " ") for name in took)
    parts = ", ".join(
        f"{name} {si(seconds, 's')} (busy {share(busy[key])})"
        for name, (key, seconds) in zip(names, took.items(), strict=True)
    )
    held = ", ".join(
        f"{side} on {found[side]['system']}, {binary(found[side]['weights_B'])} of weights a device"
        for side in ("attention", "experts")
    )
    return [
        Text(
            f"A layer of one of {found['microbatches']:g} microbatches: {parts}. "
            f"{digits(found['microbatches_needed'])} microbatches keep the busier side at work."
        ),
        Text(f"Sides: {held}."),
    ]
