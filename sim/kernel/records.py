"""What the kernel reads and writes: record types, and the numbers that stand for names in them.

Only numpy is needed here, so building tables and looking things up doesn't load numba.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

import numpy as np

from sim.kernel import fitted_constants as constants
from sim.kernel.arrays import Floats, Ints, Table, dtype_of

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


class Pipeline:
    """What tokens that pass a model in metal, one behind the other, take: see `laws`."""

    latency_s: float  # a token alone, without attention
    slot_s: float  # between two tokens of a full pipeline
    pair_s: float  # of its longest attention stage, for a cached token attended to
    spill_s: float  # to fetch what does not fit on chip, for a cached token
    on_chip_pairs: float  # cached tokens of all sequences that fit
    link_s: float  # its busiest link, for a token; 0 where collectives are calibrated
    answer_s: float  # and for the logits of one
    shared: float  # 1: one attention unit serves all layers; 0: each has its own
    in_line: float  # attention stages a token passes, the shorter ones in part
    stage: float  # the longest of them, in such stages
    held: float  # share of a cached token's bytes in these layers
    in_line_windowed: float  # the same three of layers that attend to less
    stage_windowed: float
    held_windowed: float


class Op:
    """One operator on one device of the group, as the kernel reads it."""

    kind: int
    stream: int
    phase: int
    arithmetic: int
    capability: int  # bit of the operator class a processor must have
    pinned: int  # processor the user chose, or -1
    link: int
    moves: int  # 1 where cost depends on cached tokens, so changes every decode step
    energy_stream: int  # features of the mean group, where `stream` has the busiest one's
    group: int  # operators of one number run at the same time on different units; or -1
    leads: int  # first of its group
    drafts: int  # 1: of a draft, which runs for each token it proposes
    split: int  # how a group of expert operators shares the experts
    spaces: int  # memory spaces that the experts of a device lie in
    layers: float
    copies: float  # devices that spend what one does: of the expert side, for one of the others
    launches: float
    flops_per_token: float
    flops_per_pair: float
    flops_per_cached: float
    weight_B: float  # per pass; of all local experts for expert operators
    weight_B_per_token: float  # gathered rows
    activation_B_per_token: float
    kv_B_per_cached: float
    kv_B_per_token: float
    convert_per_kv_B: float  # vector operations that codes of the cache take to be numbers
    state_B_per_sequence: float
    heads: float
    kv_heads: float
    latent: int  # 1: all heads share one latent, as in MLA
    width: float
    experts: float  # of the model; 0 for other operators
    ranks: float  # expert-parallel ranks; devices of a collective
    top_k: float
    message_B_per_token: float
    collective: int  # all-reduce, all-gather, all-to-all, send
    routed: int  # 1 + stream of the experts whose busiest rank it waits for; 0: none
    inflow: float  # devices that send for one that receives, then
    side: int  # see `graph.Side`
    windowed: int  # of a pipeline: the stream of layers that attend to less
    pipeline: Pipeline
    steps: Annotated[Floats, ALGORITHMS]
    factor: Annotated[Floats, ALGORITHMS]  # bytes a device sends per byte of message


OP: Final = dtype_of(Op)


class Processor:
    """One processor of a device."""

    flop_per_s: Annotated[Floats, ARITHMETICS]
    J_per_flop: Annotated[Floats, ARITHMETICS]
    weights_B_per_s: float
    kv_B_per_s: float
    activations_B_per_s: float
    weights_J_per_B: float
    kv_J_per_B: float
    activations_J_per_B: float
    compute_efficiency: float
    attention_efficiency: float
    memory_efficiency: float
    ramp_B: float
    tile_m: float
    tile_n: float
    slots: float
    launch_s: float
    runs: int  # bit set of operator classes
    fitted: int  # 1: times follow the kernels below, not shares of peaks alone
    converts: int  # 1: codes of the cache are converted before they are multiplied
    cache_B: float  # what repeated calls find in cache; 0 in a run, which never repeats
    matmul: constants.MatmulKernel
    decode: constants.DecodeKernel
    prefill: constants.PrefillKernel
    experts: constants.ExpertsKernel
    vector: constants.VectorKernel


PROCESSOR: Final = dtype_of(Processor)


class Link:
    """What collectives go over."""

    B_per_s: float
    latency_s: float
    efficiency: float
    J_per_B: float
    algorithm: int  # -1 takes the fastest
    fitted: int  # 1: times follow the protocols
    protocols: constants.Protocols


LINK: Final = dtype_of(Link)


class Machine:
    """One replica: its devices, pipeline and host."""

    devices: float  # of one replica: tp * pp
    group: float  # devices that run the operator table together: tp
    stages: float  # pipeline stages
    groups: float  # data-parallel groups that share experts
    imbalance: float  # longest stage over mean stage
    sides: float  # times that tokens go to the expert side of a pass; 0: there is none
    slow: float  # times that its devices take for what healthy ones do once
    host_step_s: float
    host_sequence_s: float  # more for every sequence of the iteration
    static_W: float  # of one device
    limit_W: float  # most that one may draw


MACHINE: Final = dtype_of(Machine)


Ops = Table[Op]
Units = Table[Processor]
Links = Table[Link]


class Routing(NamedTuple):
    """Where tokens go. `coverage` [rows, 4]: expectations at token counts (`coverage_table`).

    `local` [rows, 2]: tokens of one prompt, and as how many tokens from anywhere they count, or no
    row where they count as they are. `loads` [pool + 1, experts]: token-expert pairs of the first
    tokens of a drawn sequence, or one row where expectations do. `masks` [rows, draws, ranks]:
    memory spaces that a user's policy gives the second unit in batches of `mask_tokens` [rows]
    tokens, or empty; None where no operators work at the same time, so that what lets them need not
    be compiled.
    """

    coverage: Floats
    local: Floats
    loads: Floats
    masks: Ints | None
    mask_tokens: Floats


class Pass(NamedTuple):
    """A batch and the hardware that its operators run on, with room for what they take there.

    `features` [stream, phase, feature] and `experts` [stream, 3]: numbers of the batch; `rows`
    [ops, columns] and `chosen` [ops, 2], processor (-1: a link) and bound, are filled in.
    """

    ops: Ops
    features: Floats
    experts: Floats
    routing: Routing
    units: Units
    links: Links
    rows: Floats
    chosen: Ints


class Demand(NamedTuple):
    """What one layer of an operator asks of one device.

    Of experts, `worst_weights` and `worst_work` say how many more of the weights and of the work
    the busiest rank has than the mean one. Fitted kernels go by the shape: `rows` of a product (of
    experts: token-expert pairs) and the `depth` of its sums; of attention, flops of a query-key
    pair of a head and bytes of a cached token of a key-value head.
    """

    flops: float
    weight_B: float
    kv_B: float
    activation_B: float
    worst_weights: float
    worst_work: float
    rows: float
    depth: float


class Duration(NamedTuple):
    """Seconds of one layer of an operator on a unit: `busy_s`, with launches `fixed_s` more.

    `compute_s` and `memory_s` overlap in the busy time.
    """

    busy_s: float
    compute_s: float
    memory_s: float
    fixed_s: float


class Cost(NamedTuple):
    """What one layer of an operator takes on the unit (-1: a link) that runs it."""

    seconds: float
    unit: int
    bound: int
    launch_s: float
    compute_J: float
    memory_J: float
    link_J: float


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


class Request:
    """A request and where it stands."""

    arrival_s: float
    input: int
    output: int
    target: int  # tokens to prefill: the input, after preemption also what was generated
    prefilled: int
    generated: int
    admitted_s: float
    first_s: float
    last_s: float
    max_gap_s: float
    kv_B: float  # allocated
    room: int  # tokens that surely fit there
    preemptions: int
    status: int
    layer: int  # first layer that tokens on their way have yet to pass
    on_way: int  # and how many tokens these are
    first_block: int  # of its prompt, among those of all
    blocks: int  # whole blocks of its prompt
    all_blocks: int  # and of its answer, where they are known too
    shared: int  # of these in the prefix cache on its account
    cached: int  # tokens that it found there when it was admitted
    loaded: int  # and of these in tiers below the device's memory
    ready_s: float  # when these are there, where others go on meanwhile
    host_B: float  # swapped out
    priority: int  # its class; the smaller number is the more urgent
    tenant: int  # whose it is
    urgency: float  # the least waits least, where the order isn't that of arrival
    draw: np.uint64  # where the random numbers of its speculation begin
    parent: int  # the request, from 1, to which it is one of several answers; 0: none
    busy_s: float  # of iterations it was in, by its tokens among all of each; and so the joules
    joules: float


REQUEST: Final = dtype_of(Request)
Requests = Table[Request]


class Stream:
    """What layers of one kind see of a sequence."""

    kind: int
    window: int  # 0: none
    chunked: int
    tokens: int
    keep: float
    kv_B: float  # on one device, per cached token
    draft: int  # which of `DRAFT_CACHES`; 0: of the model itself


STREAM: Final = dtype_of(Stream)
Streams = Table[Stream]

WHOLE, CHUNKED, LAYERED = range(3)
"""How prompts are cut: not at all, by tokens, or by tokens and layers."""
GROUP_RULES: Final = ("paper", "release")
TIERS: Final = 4
"""Most tiers below the prefix cache."""
BLOCKING, LAYERWISE, ASYNC = range(3)
LOADS: Final = ("blocking", "layerwise", "async")
"""How prompts are loaded: before their iteration, layer by layer within it, beside others'."""


class Policy:
    """What a scheduler does, with the memory it has."""

    decode_with_prefill: int
    cut: int
    decoders_first: int  # 1: what decodes takes of the token budget
    static: int  # 1: nothing joins what runs
    ordered: int  # 1: the queue is ordered by urgency
    groups: int  # most groups of layers that prompts pass one an iteration
    group_tokens: int  # prompt tokens for each group
    group_rule: int
    max_batch: int
    budget: int
    kv_block: int
    reserve_full: int
    watermark_B: float
    capacity_B: float
    state_B: float  # per sequence, whatever its length
    plain: int  # 1: every layer attends to all earlier tokens, and keeps them
    prefix_blocks: int  # most blocks of prompts that are kept for others; 0: none
    swap: int  # 1: what is preempted goes to the host's memory, where there is room
    host_B: float  # of one device's caches, as all that follows
    host_B_per_s: float
    host_latency_s: float
    hides_copies: int  # 1: an iteration goes on while caches are swapped
    tiers: int  # below the prefix cache
    tier_B: Annotated[Floats, TIERS]
    tier_B_per_s: Annotated[Floats, TIERS]
    tier_latency_s: Annotated[Floats, TIERS]
    loads: int  # how prompts found there are loaded
    ahead: int  # tokens drafted for each sequence; 0: no speculation


POLICY: Final = dtype_of(Policy)


class Engine:
    """Where an engine stands, and what adds up in it."""

    now_s: float
    head: int
    tail: int
    running: int
    picked: int
    stage: int  # group of layers that the prompts picked pass next, and of how many
    stages: int
    iterations: int
    busy_s: float
    host_s: float
    joules: float
    operator_joules: float  # of these what operators spent
    kv_used_B: float
    kv_peak_B: float
    prefill_tokens: int
    generated_tokens: int
    completed: int
    rejected: int
    preemptions: int
    gaps: int
    logged: int
    block_tokens: int  # of a block of the prefix cache, and its bytes on one device
    block_B: float
    oldest: int  # of idle blocks; -1: none
    newest: int
    idle_blocks: int
    cached_blocks: int
    dropped_blocks: int
    cached_tokens: int  # found in the cache, of those asked for
    asked_tokens: int
    copy_s: float  # of swaps that the next iteration waits for
    load_s: float  # of loads that the prompts picked wait for
    loaded_s: float  # of all loads, and when the last of those beside iterations ends
    load_end_s: float
    swap_wait_s: float  # by which iterations were longer for swaps, and for loads
    load_wait_s: float
    swapped: int  # requests in host memory, at the head of the queue
    swaps: int
    swapped_B: float
    returned_B: float
    host_used_B: float
    host_peak_B: float
    tier_oldest: Annotated[Ints, TIERS]  # of the blocks of a tier; -1: none
    tier_newest: Annotated[Ints, TIERS]
    tier_blocks: Annotated[Ints, TIERS]  # there now, at most, that came down, and found
    tier_peak: Annotated[Ints, TIERS]
    tier_in: Annotated[Ints, TIERS]
    tier_found: Annotated[Ints, TIERS]
    verified: int  # times that a sequence had its drafted tokens verified
    accepted: int  # and how many of these tokens were accepted


ENGINE: Final = dtype_of(Engine)

LOG_START_S, LOG_SECONDS, LOG_DECODING, LOG_PROMPT_TOKENS, LOG_JOULES, LOG_MICROBATCHES = range(6)
LOG_SEQUENCES, LOG_FIRST_LAYER, LOG_LAST_LAYER, LOG_COLUMNS = 6, 7, 8, 9
"""start_s, seconds, sequences decoding, prompt tokens, joules, microbatches, sequences, layers
[first, last) that prompts pass; then features."""
