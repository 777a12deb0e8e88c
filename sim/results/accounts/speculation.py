"""Speculation: drafted tokens, how many were accepted, and what that was worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sim.engines.roofline import Step, decode_batch, drafting, step
from sim.kernel.records import DONE, SECONDS
from sim.results.blocks import Block
from sim.results.quantity import digits, share, si
from sim.simulation.outcomes import Outcomes
from sim.simulation.prepare import Prepared, prepare


def speculation(prepared: Prepared, outcomes: Outcomes) -> Block | None:
    """What speculation came to; None without.

    `acceptance_length` is tokens a step and sequence, and `expected_length` what the acceptance
    makes of it, both without the cut at the end of answers. Shares are of all busy time, and of
    what operators use. `steady` compares a step with one without speculation.
    """
    drafting_by = prepared.scenario.speculation
    if drafting_by is None:
        return None
    verified = sum(replica.verified for replica in outcomes.replicas)
    accepted = sum(replica.accepted_tokens for replica in outcomes.replicas)
    seconds = joules = 0.0
    for group in outcomes.groups:
        drafts = group.prepared.program.drafts
        seconds += float(group.seconds[drafts].sum())
        joules += float(group.joules[drafts].sum())
    spent = sum(group.operator_joules for group in outcomes.groups)
    values = {
        "draft": drafting_by.name,
        "tokens": drafting_by.tokens,
        "verifications": verified,
        "drafted_tokens": verified * drafting_by.tokens,
        "accepted_tokens": accepted,
        "acceptance_rate": _over(accepted, verified * drafting_by.tokens),
        "acceptance_length": None if not verified else 1.0 + accepted / verified,
        "expected_length": drafting_by.tokens_per_step,
        "draft_time_share": _over(seconds, outcomes.busy_s),
        "draft_energy_share": _over(joules, spent),
        "steady": _steady(prepared, outcomes, verified),
    }
    return Block(name="speculation", values=values, lines=tuple(_lines(values)))


def _over(part: float, whole: float) -> float | None:
    return part / whole if whole > 0.0 else None


def _steady(prepared: Prepared, outcomes: Outcomes, verified: int) -> Mapping[str, Any] | None:
    """A decode step of the run's mean batch half through mean answers, with and without drafts."""
    requests = outcomes.requests
    completed = requests[requests["status"] == DONE]
    if not verified or not len(completed):
        return None
    program = prepared.program
    plain = prepare(replace(prepared.scenario, speculation=None)).program
    batch = max(round(verified / outcomes.iterations), 1)
    context = round(float((completed["input"] + completed["output"] / 2.0).mean()))
    drafted_step = step(program, decode_batch(batch, context))
    plain_s = step(plain, decode_batch(batch, context)).seconds
    return {
        "sequences": batch,
        "context": context,
        "step_s": drafted_step.seconds,
        "draft_s": _draft_seconds(prepared, drafted_step),
        "plain_s": plain_s,
        "speedup": program.tokens_per_step * plain_s / drafted_step.seconds,
    }


def _draft_seconds(prepared: Prepared, decode_step: Step) -> float:
    """Seconds of all passes of the draft in a decode step."""
    drafts = drafting(prepared.program).drafts
    return float(decode_step.rows[drafts, SECONDS].sum()) * decode_step.microbatches


def _lines(values: Mapping[str, Any]) -> list[str]:
    """How many drafted tokens were accepted, and what that was worth."""
    lines = [
        f"Speculation: {values['draft']} drafts {values['tokens']} tokens; "
        f"{digits(values['acceptance_length'])} tokens a step come out "
        f"({digits(values['expected_length'])} expected), {share(values['acceptance_rate'])} of "
        f"the drafted ones accepted; the draft takes {share(values['draft_time_share'])} of busy "
        f"time, {share(values['draft_energy_share'])} of operators' energy"
    ]
    steady = values["steady"]
    if steady is not None:
        lines.append(
            f"A step of {steady['sequences']} sequences at {steady['context']:,} tokens takes "
            f"{si(steady['step_s'], 's')}, {si(steady['draft_s'], 's')} of it the draft's, and "
            f"without speculation {si(steady['plain_s'], 's')}: answers come "
            f"{digits(steady['speedup'])} times as fast"
        )
    return lines
