"""Mean step: the iteration that has the tokens which those of a run had on average."""

from __future__ import annotations

import numpy as np

from sim.engines.roofline import (
    Step,
    decode_batch,
    features_of,
    prefill_batch,
    step_of_features,
)
from sim.kernel.iteration import microbatches
from sim.simulation.outcomes import ReplicaGroup


def mean_step(group: ReplicaGroup) -> Step | None:
    """One iteration with the mean tokens of prompts and of answers; None where nothing ran.

    Features are linear in tokens, so no whole sequences are needed: prompts are of the mean length,
    answers half done.
    """
    program = group.prepared.program
    iterations = sum(each.iterations for each in group.outcomes)
    requests = np.concatenate([each.requests for each in group.outcomes])
    first = int((requests["generated"] > 0).sum())  # tokens that prompts gave
    prompts = sum(each.prefill_tokens for each in group.outcomes)
    decodes = max(sum(each.generated_tokens for each in group.outcomes) - first, 0)
    if program.ahead:  # steps, each of several tokens
        decodes = sum(each.verified for each in group.outcomes)
    if iterations == 0 or prompts + decodes == 0:
        return None
    prompt = max(round(float(requests["input"].mean())), 1) + group.prepared.extra_prompt
    context = prompt + max(round(float(requests["output"].mean()) / 2.0), 1)
    of_prompt, parts = features_of(program, prefill_batch(1, prompt))
    of_decode, _ = features_of(program, decode_batch(1, context))
    features = of_prompt * parts * (prompts / prompt) + of_decode * parts * decodes
    count = (prompts / prompt + decodes) / iterations
    micro = float(microbatches(program.machine[0], count))
    return step_of_features(program, features / iterations / micro, micro, count)
