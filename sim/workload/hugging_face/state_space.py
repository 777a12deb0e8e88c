"""Families with state spaces: Mamba, and its hybrids with attention, Jamba and Nemotron-H."""

from __future__ import annotations

from sim.workload.architecture import Architecture, Block, Experts, FeedForward, StateSpace
from sim.workload.hugging_face.keys import MOST_LAYERS, Config
from sim.workload.hugging_face.parts import attention, decoder, top_k_of


def mamba(config: Config, name: str) -> Architecture:
    """Mamba: a selective state space in every layer, no attention, tied embeddings."""
    block = Block(mixer=_mamba1(config, config.whole("state_size", 16)), norms=1)
    return decoder(
        config,
        name,
        (block,) * config.layers(),
        tied=config.flag("tie_word_embeddings", True),
    )


def _mamba1(config: Config, state: int) -> StateSpace:
    hidden = config.whole("hidden")
    return StateSpace(
        version=1,
        inner=config.whole("intermediate", hidden * config.whole("expand", 2)),
        state=state,
        conv=config.whole("conv_kernel", 4),
        dt_rank=config.automatic("time_step_rank", -(-hidden // 16)),
        conv_bias=config.flag("use_conv_bias", True),
        proj_bias=config.flag("use_bias", False),
    )


def jamba(config: Config, name: str) -> Architecture:
    """Jamba: attention in one of eight layers, experts in every other, Mamba in the rest."""
    hidden = config.whole("hidden")
    mixer = StateSpace(
        version=1,
        inner=hidden * config.whole("mamba_expand", 2),
        state=config.whole("mamba_d_state", 16),
        conv=config.whole("mamba_d_conv", 4),
        dt_rank=config.automatic("mamba_dt_rank", -(-hidden // 16)),
        inner_norms=True,
        conv_bias=config.flag("mamba_conv_bias", True),
        proj_bias=config.flag("mamba_proj_bias", False),
    )
    width = config.whole("intermediate")
    dense = FeedForward(intermediate=width)
    experts = Experts(count=config.whole("experts"), top_k=top_k_of(config), intermediate=width)
    attend = (config.whole("attn_layer_period", 8), config.whole("attn_layer_offset", 4, least=0))
    route = (
        config.whole("expert_layer_period", 2),
        config.whole("expert_layer_offset", 1, least=0),
    )
    blocks = tuple(
        Block(
            mixer=attention(config) if _turn(index, attend) else mixer,
            ffn=experts if experts.count > 1 and _turn(index, route) else dense,
        )
        for index in range(config.layers())
    )
    return decoder(config, name, blocks)


def _turn(index: int, period_offset: tuple[int, int]) -> bool:
    period, offset = period_offset
    return index % period == offset


def nemotron_h(config: Config, name: str) -> Architecture:
    """Nemotron-H: a pattern of Mamba-2 (M), attention (*) and feed-forward (-) layers."""
    state_space = StateSpace(
        version=2,
        inner=config.whole("mamba_num_heads") * config.whole("mamba_head_dim"),
        state=config.whole("ssm_state_size"),
        conv=config.whole("conv_kernel", 4),
        heads=config.whole("mamba_num_heads"),
        groups=config.whole("n_groups", 1),
        conv_bias=config.flag("use_conv_bias", True),
        proj_bias=config.flag("mamba_proj_bias", False),
    )
    kinds = {
        "M": Block(mixer=state_space, norms=1),
        "*": Block(mixer=attention(config), norms=1),
        "-": Block(
            ffn=FeedForward(
                intermediate=config.whole("intermediate"),
                gated=False,
                bias=config.flag("mlp_bias", False),
            ),
            norms=1,
        ),
    }
    pattern = config.text("hybrid_override_pattern")
    unknown = sorted(set(pattern) - set(kinds))
    if len(pattern) > MOST_LAYERS:
        config.wrong("hybrid_override_pattern", f"more than {MOST_LAYERS} layers")
        return decoder(config, name, ())
    if unknown or not pattern:
        config.wrong("hybrid_override_pattern", f"letters M, * and - are due, not {unknown}")
        return decoder(config, name, ())
    if config.has("layers") and len(pattern) != config.layers():
        config.wrong(
            "hybrid_override_pattern", f"{len(pattern)} letters for {config.layers()} layers"
        )
    return decoder(config, name, tuple(kinds[letter] for letter in pattern))
