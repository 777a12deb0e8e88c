"""Mean step: the iteration that has the tokens which those of a run had on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sim.engines.roofline import (
    Step,
    decode_batch,
    features_of,
    prefill_batch,
    step_of_features,
)
from sim.kernel.iteration import microbatches

if TYPE_CHECKING:
    from sim.simulation.replica_groups import Part


def mean_step(part: Part) -> Step | None:
    """One iteration with the mean tokens of prompts and of answers; None where nothing ran.

    Features are linear in tokens, so no whole sequences are needed: prompts are of the mean length,
    answers half done.
    """
    program = part.prepared.program
    iterations = sum(each.iterations for each in part.outcomes)
    requests = np.concatenate([each.requests for each in part.outcomes])
    first = int((requests["generated"] > 0).sum())  # tokens that prompts gave
    prompts = sum(each.prefill_tokens for each in part.outcomes)
    decodes = max(sum(each.generated_tokens for each in part.outcomes) - first, 0)
    if program.ahead:  # steps, each of several tokens
        decodes = sum(each.verified for each in part.outcomes)
    if iterations == 0 or prompts + decodes == 0:
        return None
    prompt = max(round(float(requests["input"].mean())), 1) + part.prepared.extra_prompt
    context = prompt + max(round(float(requests["output"].mean()) / 2.0), 1)
    of_prompt, parts = features_of(program, prefill_batch(1, prompt))
    of_decode, _ = features_of(program, decode_batch(1, context))
    features = of_prompt * parts * (prompts / prompt) + of_decode * parts * decodes
    count = (prompts / prompt + decodes) / iterations
    micro = float(microbatches(program.machine[0], count))
    return step_of_features(program, features / iterations / micro, micro, count)
