"""Sessions: people and agents that come back with all that was said before, as requests."""

from __future__ import annotations

import math

import numpy as np

from sim.errors import ConfigError
from sim.workload.traffic.forms import Blocks, Follows, Sessions, Trace
from sim.workload.traffic.lengths import sample_lengths
from sim.workload.traffic.priorities import drawn_classes
from sim.workload.traffic.table import Integers

BLOCK_TOKENS = 64
"""Tokens that are told apart: what two prompts share of the block where they part isn't counted."""


def session_requests(sessions: Sessions, seed: int) -> Trace:
    """The requests of `sessions`, decided by `seed`, with the blocks that their prompts consist of.

    A session begins with one of `templates` texts that sessions share; each turn's prompt is
    that, every earlier message and answer, and a new message. The next one comes `think_s` (drawn,
    exponential) after the answer is thought to have ended, `pace_s` a token: an open loop, which a
    slow system does not slow down. With `wait` it comes as long after the answer has really ended.
    Turns, lengths, arrivals and templates are drawn from separate streams. ConfigError for a rate
    that is none.
    """
    if not (sessions.rate_per_s > 0 and math.isfinite(sessions.rate_per_s)):
        raise ConfigError(f"a rate of {sessions.rate_per_s:g} /s: a number above 0 is due")
    count = sessions.sessions
    starts, turns, messages, answers, thinking, texts = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(6)
    )
    begins = np.cumsum(starts.standard_exponential(count)) / sessions.rate_per_s
    lengths = sample_lengths(sessions.turns, count, turns)
    total = int(lengths.sum())
    said = sample_lengths(sessions.input, total, messages)
    answered = sample_lengths(sessions.output, total, answers)
    waits = thinking.standard_exponential(total) * sessions.think_s
    template = texts.integers(sessions.templates, size=count)
    session = np.repeat(np.arange(count), lengths)
    first = np.cumsum(lengths) - lengths
    before = np.cumsum(said + answered) - (said + answered)  # of all turns before, in all sessions
    history = sessions.shared + before - np.repeat(before[first], lengths)
    prompts = history + said
    answer_s = answered * sessions.pace_s + waits
    elapsed = np.cumsum(answer_s) - answer_s
    arrivals = np.repeat(begins, lengths) + elapsed - np.repeat(elapsed[first], lengths)
    order = np.argsort(arrivals, kind="stable")
    classes = drawn_classes(sessions.priorities, count, seed)
    follows = None
    if sessions.wait:
        places = np.empty(total, np.int64)
        places[order] = np.arange(total)
        previous = np.roll(places, 1)
        previous[first] = -1
        follows = Follows(previous=previous[order], think_s=np.roll(waits, 1)[order])
    return Trace(
        name="sessions",
        arrival_s=np.asarray(arrivals[order] - arrivals[order[0]]),
        input_tokens=prompts[order],
        output_tokens=answered[order],
        blocks=_blocks(sessions, (prompts + answered)[order], session[order], template),
        follows=follows,
        priority=None if classes is None else classes[session[order]],
    )


def _blocks(sessions: Sessions, tokens: Integers, session: Integers, template: Integers) -> Blocks:
    """Whole blocks of prompts and answers: those of a template, then those of a session."""
    shared = sessions.shared // BLOCK_TOKENS
    sizes = tokens // BLOCK_TOKENS
    longest = int(sizes.max(initial=0))
    parts = []
    for own, size in zip(session.tolist(), sizes.tolist(), strict=True):
        place = np.arange(size)
        of_template = template[own] * shared + place
        of_session = sessions.templates * shared + own * longest + place
        parts.append(np.where(place < shared, of_template, of_session))
    named = np.concatenate([np.zeros(0, np.int64), *parts])
    _, numbers = np.unique(named, return_inverse=True)
    return Blocks(
        ids=numbers.astype(np.int64),
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        tokens=BLOCK_TOKENS,
        answers=True,
    )
