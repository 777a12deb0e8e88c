"""Samples: several answers to one prompt (OpenAI's `n`), each a sequence of its own.

A server makes as many sequences of such a request, which have the prompt in common: vLLM adds them
to its queue together, each under the request as parent (`ParentRequest`, V1), SGLang has the prompt
computed once before it adds them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sim.errors import ConfigError, Problem
from sim.workload.traffic.forms import Blocks, Follows, Length, Trace, Traffic
from sim.workload.traffic.lengths import sample_lengths
from sim.workload.traffic.table import Integers

MOST = 1024
"""Most answers to one prompt; OpenAI allows 128."""
BLOCK_TOKENS = 16
"""Tokens that answers to one prompt share at a time, where the traffic names no blocks: vLLM's."""
STREAM = 7
"""Which of a seed's streams draws lengths of further answers; those before it draw all else."""


def check_samples(traffic: Traffic) -> None:
    """ConfigError for a number of answers that there can't be."""
    if not 1 <= traffic.samples <= MOST:
        message = f"{traffic.samples}: a number of answers from 1 to {MOST:,} is due"
        raise ConfigError([Problem(path="traffic.samples", message=message)])


def fan_out(trace: Trace, samples: int, output: Length | None, seed: int) -> Trace:
    """`trace` with `samples` rows for each of its own, which differ in the length of the answer.

    The first one is as it was; the others' lengths are drawn from `output`, the second ones from a
    stream of their own and so on, so that more samples leave those before alone. Without `output`
    (a recorded trace) all are as long as the first. Only the first answer is a block that later
    prompts may begin with: a session goes on from that, once all answers are there.
    """
    count = len(trace.arrival_s)
    rows = np.repeat(np.arange(count), samples)
    first = np.arange(len(rows)) % samples == 0
    made = trace.of(rows)
    answers = made.output_tokens
    if output is not None:
        streams = np.random.SeedSequence(seed).spawn(STREAM + 1)[STREAM].spawn(samples - 1)
        drawn = [sample_lengths(output, count, np.random.default_rng(each)) for each in streams]
        answers = np.stack([trace.output_tokens, *drawn], axis=1).ravel()
    blocks = made.blocks
    if blocks is not None and blocks.answers:
        blocks = _prompts_only(blocks, made.input_tokens, first)
    follows = trace.follows
    if follows is not None:
        previous = np.where(follows.previous < 0, -1, follows.previous * samples)
        follows = Follows(previous=previous[rows], think_s=follows.think_s[rows])
    return replace(
        made, output_tokens=answers, blocks=blocks, follows=follows, samples=1, parent=rows + 1
    )


def _prompts_only(blocks: Blocks, prompts: Integers, whole: np.ndarray) -> Blocks:
    """Blocks without those of the answer, but for the `whole` rows."""
    sizes = np.diff(blocks.starts)
    kept = np.where(whole, sizes, np.minimum(sizes, prompts // blocks.tokens))
    place = np.arange(len(blocks.ids)) - np.repeat(blocks.starts[:-1], sizes)
    return replace(
        blocks,
        ids=blocks.ids[place < np.repeat(kept, sizes)],
        starts=np.concatenate([[0], np.cumsum(kept)]).astype(np.int64),
    )


def with_blocks(trace: Trace) -> Trace:
    """`trace` with blocks that only answers to one prompt have in common, if it names none."""
    if trace.blocks is not None or trace.parent is None:
        return trace
    first = np.flatnonzero(np.diff(trace.parent, prepend=0))
    sizes = trace.input_tokens[first] // BLOCK_TOKENS
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    own = Blocks(ids=np.arange(starts[-1]), starts=starts, tokens=BLOCK_TOKENS)
    which = np.cumsum(np.diff(trace.parent, prepend=0) != 0) - 1
    return replace(trace, blocks=own.of(which))
