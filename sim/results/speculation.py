"""Speculation: what it came to in a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sim.engines.roofline import Step, decode_batch, drafting, step
from sim.kernel.records import DONE, SECONDS

if TYPE_CHECKING:
    from sim.results.run import Run


def speculation_json(run: Run) -> Mapping[str, Any] | None:
    """What speculation came to; None without.

    `acceptance_length` is tokens a step and sequence, and `expected_length` what the acceptance
    makes of it, both without the cut at the end of answers. Shares are of all busy time, and of
    what operators use. `steady` compares a step with one without speculation.
    """
    speculation = run.scenario.speculation
    if speculation is None:
        return None
    outcomes = run.served.outcomes
    verified = sum(outcome.verified for outcome in outcomes)
    accepted = sum(outcome.accepted_tokens for outcome in outcomes)
    seconds = joules = 0.0
    for part in run.parts:
        drafts = part.prepared.program.drafts
        seconds += float(part.seconds[drafts].sum())
        joules += float(part.joules[drafts].sum())
    busy = sum(part.busy_s for part in run.parts)
    spent = sum(part.operator_joules for part in run.parts)
    return {
        "draft": speculation.name,
        "tokens": speculation.tokens,
        "verifications": verified,
        "drafted_tokens": verified * speculation.tokens,
        "accepted_tokens": accepted,
        "acceptance_rate": _over(accepted, verified * speculation.tokens),
        "acceptance_length": None if not verified else 1.0 + accepted / verified,
        "expected_length": speculation.tokens_per_step,
        "draft_time_share": _over(seconds, busy),
        "draft_energy_share": _over(joules, spent),
        "steady": _steady(run, verified),
    }


def _over(part: float, whole: float) -> float | None:
    return part / whole if whole > 0.0 else None


def _steady(run: Run, verified: int) -> Mapping[str, Any] | None:
    """A decode step of the run's mean batch half through mean answers, with and without drafts."""
    from sim.simulation.prepare import prepare

    records = run.records
    done = records[records["status"] == DONE]
    iterations = sum(outcome.iterations for outcome in run.served.outcomes)
    if not verified or not len(done):
        return None
    program = run.prepared.program
    plain = prepare(replace(run.scenario, speculation=None)).program
    batch = max(round(verified / iterations), 1)
    context = round(float((done["input"] + done["output"] / 2.0).mean()))
    own = step(program, decode_batch(batch, context))
    alone = step(plain, decode_batch(batch, context)).seconds
    draft = _draft_seconds(run, own)
    return {
        "sequences": batch,
        "context": context,
        "step_s": own.seconds,
        "draft_s": draft,
        "plain_s": alone,
        "speedup": program.tokens_per_step * alone / own.seconds,
    }


def _draft_seconds(run: Run, done: Step) -> float:
    """Seconds of all passes of the draft in a decode step."""
    program = drafting(run.prepared.program)
    return float(done.rows[program.drafts, SECONDS].sum()) * done.microbatches
