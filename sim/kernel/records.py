"""What the kernel reads and writes: record types, and the numbers that stand for names in them.

Only numpy is needed here, so building tables and looking things up doesn't load numba.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sim.kernel.fitted_records import (
    DECODE_KERNEL,
    EXPERTS_KERNEL,
    MATMUL_KERNEL,
    PREFILL_KERNEL,
    PROTOCOLS,
    VECTOR_KERNEL,
)

ALL_REDUCE, ALL_GATHER, ALL_TO_ALL, SEND = range(4)
ARITHMETICS: Final = 6
"""Slots of a processor's peaks: dtypes.COMPUTE, then the vector unit."""
FP16, FP8 = 1, 2
VECTOR: Final = 5
ALGORITHMS: Final = 3
"""Collective algorithms a row knows: ring, tree, direct."""
RING, TREE, DIRECT = range(3)

# Kinds and phases, as in sim.graph (asserted equal in a test).
MATMUL, EXPERTS, ATTENTION, SCAN, ELEMENTWISE, GATHER, COLLECTIVE, PIPELINE = range(8)
ALL, PREFILL, DECODE, LOGITS = range(4)
TOKENS, PAIRS, CACHED, SEQUENCES = range(4)
"""Features of a batch in one stream and phase."""
ASKED: Final = 8
"""Numbers that say what an operator asks for: see `operators.demand`."""
TOUCHED, WORST_TOUCHED, WORST_LOAD = range(3)
"""Experts touched; on the busiest rank: experts touched and token-expert pairs per pair routed."""
SECONDS, LAUNCH_S, COMPUTE_J, MEMORY_J, LINK_J, BUSY_S, PAIR_SHARE, WEIGHT_SHARE = range(8)
"""Columns of an operator's row, of all layers: seconds it adds to the pass and of that launches,
joules of one device, seconds its unit works (also while another one is waited for), and the shares
of token-expert pairs and of touched experts that an operator split between units has."""
ROW_COLUMNS: Final = 8
SIDES: Final = 4
"""Parts of a pass where experts are apart: see `graph.Side`."""
JOULES: Final = slice(COMPUTE_J, LINK_J + 1)
"""The joules of a row."""
GREEDY, EXACT, GIVEN = range(3)
"""How memory spaces of experts are split between two units."""
DRAWS: Final = 64
"""Batches of the drawn routing whose mean an expert layer takes."""
SPACES: Final = 8
"""Most memory spaces that experts of a device can lie in."""
UNIT, BOUND = range(2)
"""Columns of what was chosen for an operator: processor (-1: a link) and bound."""
COST_COMPUTE_S, COST_MEMORY_S, COST_LAUNCH_S, COST_COMPUTE_J, COST_MEMORY_J = range(5)
"""Columns of what one processor would take for one layer of an operator."""
COMPUTE_BOUND, MEMORY_BOUND, LINK_BOUND, OVERHEAD = range(4)

OP: Final = np.dtype(
    [
        ("kind", "i8"),
        ("stream", "i8"),
        ("phase", "i8"),
        ("arithmetic", "i8"),
        ("capability", "i8"),  # bit of the operator class a processor must have
        ("pinned", "i8"),  # processor the user chose, or -1
        ("link", "i8"),
        ("moves", "i8"),  # 1 where cost depends on cached tokens, so changes every decode step
        ("energy_stream", "i8"),  # features of the mean group, where `stream` has the busiest one's
        ("group", "i8"),  # operators of one number run at the same time on different units; or -1
        ("leads", "i8"),  # first of its group
        ("drafts", "i8"),  # 1: of a draft, which runs for each token it proposes
        ("split", "i8"),  # how a group of expert operators shares the experts
        ("spaces", "i8"),  # memory spaces that the experts of a device lie in
        ("layers", "f8"),
        ("launches", "f8"),
        ("flops_per_token", "f8"),
        ("flops_per_pair", "f8"),
        ("flops_per_cached", "f8"),
        ("weight_B", "f8"),  # per pass; of all local experts for expert operators
        ("weight_B_per_token", "f8"),  # gathered rows
        ("activation_B_per_token", "f8"),
        ("kv_B_per_cached", "f8"),
        ("kv_B_per_token", "f8"),
        ("convert_per_kv_B", "f8"),  # vector operations that codes of the cache take to be numbers
        ("state_B_per_sequence", "f8"),
        ("heads", "f8"),
        ("kv_heads", "f8"),
        ("latent", "i8"),  # 1: all heads share one latent, as in MLA
        ("width", "f8"),
        ("experts", "f8"),  # of the model; 0 for other operators
        ("ranks", "f8"),  # expert-parallel ranks; devices of a collective
        ("top_k", "f8"),
        ("message_B_per_token", "f8"),
        ("collective", "i8"),  # all-reduce, all-gather, all-to-all, send
        ("routed", "i8"),  # 1 + stream of the experts whose busiest rank it waits for; 0: none
        ("inflow", "f8"),  # devices that send for one that receives, then
        ("side", "i8"),  # see `graph.Side`
        ("latency_s", "f8"),  # of a pipeline: what a token alone takes, without attention
        ("slot_s", "f8"),  # between two tokens of a full pipeline
        ("pair_s", "f8"),  # of its longest attention stage, for a cached token attended to
        ("spill_s", "f8"),  # to fetch what does not fit on chip, for a cached token
        ("on_chip_pairs", "f8"),  # cached tokens of all sequences that fit
        ("link_s", "f8"),  # its busiest link, for a token; 0 where collectives are calibrated
        ("answer_s", "f8"),  # and for the logits of one
        ("shared", "f8"),  # 1: one attention unit serves all layers; 0: each has its own
        ("in_line", "f8"),  # attention stages a token passes, the shorter ones in part
        ("stage", "f8"),  # the longest of them, in such stages
        ("held", "f8"),  # share of a cached token's bytes that is theirs
        ("windowed", "i8"),  # the stream of layers that attend to less, and the same three of them
        ("in_line_windowed", "f8"),
        ("stage_windowed", "f8"),
        ("held_windowed", "f8"),
        ("steps", "f8", (ALGORITHMS,)),
        ("factor", "f8", (ALGORITHMS,)),  # bytes a device sends per byte of message
    ],
    align=True,
)
"""One operator on one device of the group, as the kernel reads it."""

PROCESSOR: Final = np.dtype(
    [
        ("flop_per_s", "f8", (ARITHMETICS,)),
        ("J_per_flop", "f8", (ARITHMETICS,)),
        ("weights_B_per_s", "f8"),
        ("kv_B_per_s", "f8"),
        ("activations_B_per_s", "f8"),
        ("weights_J_per_B", "f8"),
        ("kv_J_per_B", "f8"),
        ("activations_J_per_B", "f8"),
        ("compute_efficiency", "f8"),
        ("attention_efficiency", "f8"),
        ("memory_efficiency", "f8"),
        ("ramp_B", "f8"),
        ("tile_m", "f8"),
        ("tile_n", "f8"),
        ("slots", "f8"),
        ("launch_s", "f8"),
        ("runs", "i8"),  # bit set of operator classes
        ("fitted", "i8"),  # 1: times follow the kernels below, not shares of peaks alone
        ("converts", "i8"),  # 1: codes of the cache are converted before they are multiplied
        ("cache_B", "f8"),  # what repeated calls find in cache; 0 in a run, which never repeats
        ("matmul", MATMUL_KERNEL),
        ("decode", DECODE_KERNEL),
        ("prefill", PREFILL_KERNEL),
        ("experts", EXPERTS_KERNEL),
        ("vector", VECTOR_KERNEL),
    ],
    align=True,
)

LINK: Final = np.dtype(
    [
        ("B_per_s", "f8"),
        ("latency_s", "f8"),
        ("efficiency", "f8"),
        ("J_per_B", "f8"),
        ("algorithm", "i8"),  # -1 takes the fastest
        ("fitted", "i8"),  # 1: times follow the protocols
        ("protocols", PROTOCOLS),
    ],
    align=True,
)

MACHINE: Final = np.dtype(
    [
        ("devices", "f8"),  # of one replica: tp * pp
        ("group", "f8"),  # devices that run the operator table together: tp
        ("stages", "f8"),  # pipeline stages
        ("groups", "f8"),  # data-parallel groups that share experts
        ("imbalance", "f8"),  # longest stage over mean stage
        ("sides", "f8"),  # times that tokens go to the expert side of a pass; 0: there is none
        ("slow", "f8"),  # times that its devices take for what healthy ones do once
        ("host_step_s", "f8"),
        ("host_sequence_s", "f8"),  # more for every sequence of the iteration
        ("static_W", "f8"),  # of one device
        ("limit_W", "f8"),  # most that one may draw
    ],
    align=True,
)


class Routing(NamedTuple):
    """Where tokens go. `coverage` [rows, 4]: expectations at token counts (`coverage_table`).

    `local` [rows, 2]: tokens of one prompt, and as how many tokens from anywhere they count, or no
    row where they count as they are. `loads` [pool + 1, experts]: token-expert pairs of the first
    tokens of a drawn sequence, or one row where expectations do. `masks` [rows, draws, ranks]:
    memory spaces that a user's policy gives the second unit in batches of `mask_tokens` [rows]
    tokens, or empty; None where no operators work at the same time, so that what lets them need not
    be compiled.
    """

    coverage: npt.NDArray[np.float64]
    local: npt.NDArray[np.float64]
    loads: npt.NDArray[np.float64]
    masks: npt.NDArray[np.int64] | None
    mask_tokens: npt.NDArray[np.float64]


NO_END: Final = 1 << 60
"""More iterations and tokens than any run has."""

# --- serving -----------------------------------------------------------------------------------

WAITING, RUNNING, DONE, REJECTED = range(4)
IDLE, HORIZON, COMPLETED, LOG_FULL, LIMIT = range(5)
"""Why `serve` returned: nothing left, time is up, a request ended, room for gaps or steps used."""
CAUSAL, ENCODER, FIXED, GENERATED, CROSS = range(5)
DRAFT_CACHES: Final = ("", "own", "shared")
"""Where a draft keeps keys and values; first, what is no draft's."""
SHARED_CACHE: Final = DRAFT_CACHES.index("shared")

REQUEST: Final = np.dtype(
    [
        ("arrival_s", "f8"),
        ("input", "i8"),
        ("output", "i8"),
        ("target", "i8"),  # tokens to prefill: the input, after preemption also what was generated
        ("prefilled", "i8"),
        ("generated", "i8"),
        ("admitted_s", "f8"),
        ("first_s", "f8"),
        ("last_s", "f8"),
        ("max_gap_s", "f8"),
        ("kv_B", "f8"),  # allocated
        ("room", "i8"),  # tokens that surely fit there
        ("preemptions", "i8"),
        ("status", "i8"),
        ("layer", "i8"),  # first layer that tokens on their way have yet to pass
        ("on_way", "i8"),  # and how many tokens these are
        ("first_block", "i8"),  # of its prompt, among those of all
        ("blocks", "i8"),  # whole blocks of its prompt
        ("all_blocks", "i8"),  # and of its answer, where they are known too
        ("shared", "i8"),  # of these in the prefix cache on its account
        ("cached", "i8"),  # tokens that it found there when it was admitted
        ("loaded", "i8"),  # and of these in tiers below the device's memory
        ("ready_s", "f8"),  # when these are there, where others go on meanwhile
        ("host_B", "f8"),  # swapped out
        ("priority", "i8"),  # its class; the smaller number is the more urgent
        ("urgency", "f8"),  # the least waits least, where the order isn't that of arrival
        ("draw", "u8"),  # where the random numbers of its speculation begin
        ("parent", "i8"),  # the request, from 1, to which it is one of several answers; 0: none
    ],
    align=True,
)

STREAM: Final = np.dtype(
    [
        ("kind", "i8"),
        ("window", "i8"),  # 0: none
        ("chunked", "i8"),
        ("tokens", "i8"),
        ("keep", "f8"),
        ("kv_B", "f8"),  # on one device, per cached token
        ("draft", "i8"),  # which of `DRAFT_CACHES`; 0: of the model itself
    ],
    align=True,
)

WHOLE, CHUNKED, LAYERED = range(3)
"""How prompts are cut: not at all, by tokens, or by tokens and layers."""
GROUP_RULES: Final = ("paper", "release")
TIERS: Final = 4
"""Most tiers below the prefix cache."""
BLOCKING, LAYERWISE, ASYNC = range(3)
LOADS: Final = ("blocking", "layerwise", "async")
"""How prompts are loaded: before their iteration, layer by layer within it, beside others'."""

POLICY: Final = np.dtype(
    [
        ("decode_with_prefill", "i8"),
        ("cut", "i8"),
        ("decoders_first", "i8"),  # 1: what decodes takes of the token budget
        ("static", "i8"),  # 1: nothing joins what runs
        ("ordered", "i8"),  # 1: the queue is ordered by urgency
        ("groups", "i8"),  # most groups of layers that prompts pass one an iteration
        ("group_tokens", "i8"),  # prompt tokens for each group
        ("group_rule", "i8"),
        ("max_batch", "i8"),
        ("budget", "i8"),
        ("kv_block", "i8"),
        ("reserve_full", "i8"),
        ("watermark_B", "f8"),
        ("capacity_B", "f8"),
        ("state_B", "f8"),  # per sequence, whatever its length
        ("plain", "i8"),  # 1: every layer attends to all earlier tokens, and keeps them
        ("prefix_blocks", "i8"),  # most blocks of prompts that are kept for others; 0: none
        ("swap", "i8"),  # 1: what is preempted goes to the host's memory, where there is room
        ("host_B", "f8"),  # of one device's caches, as all that follows
        ("host_B_per_s", "f8"),
        ("host_latency_s", "f8"),
        ("hides_copies", "i8"),  # 1: an iteration goes on while caches are swapped
        ("tiers", "i8"),  # below the prefix cache
        ("tier_B", "f8", (TIERS,)),
        ("tier_B_per_s", "f8", (TIERS,)),
        ("tier_latency_s", "f8", (TIERS,)),
        ("loads", "i8"),  # how prompts found there are loaded
        ("ahead", "i8"),  # tokens drafted for each sequence; 0: no speculation
    ],
    align=True,
)

ENGINE: Final = np.dtype(
    [
        ("now_s", "f8"),
        ("head", "i8"),
        ("tail", "i8"),
        ("running", "i8"),
        ("picked", "i8"),
        ("stage", "i8"),  # group of layers that the prompts picked pass next, and of how many
        ("stages", "i8"),
        ("iterations", "i8"),
        ("busy_s", "f8"),
        ("host_s", "f8"),
        ("joules", "f8"),
        ("operator_joules", "f8"),  # of these what operators spent
        ("kv_used_B", "f8"),
        ("kv_peak_B", "f8"),
        ("prefill_tokens", "i8"),
        ("generated_tokens", "i8"),
        ("completed", "i8"),
        ("rejected", "i8"),
        ("preemptions", "i8"),
        ("gaps", "i8"),
        ("logged", "i8"),
        ("block_tokens", "i8"),  # of a block of the prefix cache, and its bytes on one device
        ("block_B", "f8"),
        ("oldest", "i8"),  # of idle blocks; -1: none
        ("newest", "i8"),
        ("idle_blocks", "i8"),
        ("cached_blocks", "i8"),
        ("dropped_blocks", "i8"),
        ("cached_tokens", "i8"),  # found in the cache, of those asked for
        ("asked_tokens", "i8"),
        ("copy_s", "f8"),  # of swaps that the next iteration waits for
        ("load_s", "f8"),  # of loads that the prompts picked wait for
        ("loaded_s", "f8"),  # of all loads, and when the last of those beside iterations ends
        ("load_end_s", "f8"),
        ("swap_wait_s", "f8"),  # by which iterations were longer for swaps, and for loads
        ("load_wait_s", "f8"),
        ("swapped", "i8"),  # requests in host memory, at the head of the queue
        ("swaps", "i8"),
        ("swapped_B", "f8"),
        ("returned_B", "f8"),
        ("host_used_B", "f8"),
        ("host_peak_B", "f8"),
        ("tier_oldest", "i8", (TIERS,)),  # of the blocks of a tier; -1: none
        ("tier_newest", "i8", (TIERS,)),
        ("tier_blocks", "i8", (TIERS,)),  # there now, at most, that came down, and found
        ("tier_peak", "i8", (TIERS,)),
        ("tier_in", "i8", (TIERS,)),
        ("tier_found", "i8", (TIERS,)),
        ("verified", "i8"),  # times that a sequence had its drafted tokens verified
        ("accepted", "i8"),  # and how many of these tokens were accepted
    ],
    align=True,
)

LOG_START_S, LOG_SECONDS, LOG_DECODING, LOG_PROMPT_TOKENS, LOG_JOULES, LOG_MICROBATCHES = range(6)
LOG_SEQUENCES, LOG_FIRST_LAYER, LOG_LAST_LAYER, LOG_COLUMNS = 6, 7, 8, 9
"""start_s, seconds, sequences decoding, prompt tokens, joules, microbatches, sequences, layers
[first, last) that prompts pass; then features."""
