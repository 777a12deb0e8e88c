"""The YAML form of models: what it can say, and what it answers to mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from sim.config.document import Document, parse_document
from sim.config.model_form import ModelForm
from sim.config.models import to_architecture
from sim.errors import ConfigError
from sim.workload.architecture import Architecture, Attention, Block, Experts, FeedForward

MODEL: dict[str, Any] = {
    "title": "a", "hidden": 64, "layers": 4, "vocabulary": 100,
    "attention": {"heads": 4, "kv_heads": 2}, "ffn": {"intermediate": 128},
}  # fmt: skip
SPACE = {"version": 2, "inner": 64, "state": 16, "heads": 4}


def made(**changes: Any) -> Architecture:
    return to_architecture(Document(file="model.yaml", data={**MODEL, **changes}))


def problems(**changes: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        made(**changes)
    return {str(each.path): each.message for each in caught.value.problems}


def test_parts_at_the_top_are_of_every_layer() -> None:
    block = Block(
        mixer=Attention(heads=4, kv_heads=2, head_dim=16), ffn=FeedForward(intermediate=128)
    )
    assert made().layers == (block,) * 4


def test_blocks_change_what_the_model_states() -> None:
    layers = made(
        blocks={
            "local": {"attention": {"window": 8}},
            "moe": {"ffn": None, "experts": {"count": 4, "top_k": 2, "intermediate": 32}},
        },
        pattern=["local x2", "moe"],
    ).layers
    windows = [each.mixer.window for each in layers if isinstance(each.mixer, Attention)]
    assert windows == [8, 8, None, 8]  # the pattern repeats
    assert [type(each.ffn) for each in layers] == [FeedForward, FeedForward, Experts, FeedForward]
    assert isinstance(layers[2].mixer, Attention)
    assert layers[2].mixer.heads == 4


def test_one_letter_blocks_make_a_pattern_of_letters() -> None:
    layers = made(
        attention=None,
        ffn=None,
        blocks={"M": {"state_space": SPACE}, "F": {"ffn": {"intermediate": 8}}},
        pattern="MFF",
    ).layers
    assert [each.mixer is not None for each in layers] == [True, False, False, True]
    assert [each.norms for each in layers] == [1, 1, 1, 1]  # one for each part


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"hidden": 0}, "hidden", "from 1 is due"),
        ({"layers": 10**9}, "layers", "to 1000 is due"),
        ({"layers": 0}, "None", "models with an encoder"),
        ({"attention": {"heads": 7}}, "attention.heads", "7 heads do not divide hidden 64"),
        ({"attention": {"heads": 4, "kv_heads": 3}}, "attention", "3 kv_heads do not divide 4"),
        ({"attention": {"heds": 4}}, "attention.heds", "did you mean 'heads'"),
        ({"hiden": 64}, "hiden", "did you mean 'hidden'"),
        ({"experts": {"count": 2, "top_k": 3, "intermediate": 8}}, "experts", "of only 2 experts"),
        ({"experts": {"count": 2, "top_k": 1, "intermediate": 8}}, "None", "only one of ffn"),
        ({"blocks": {"a": {}}}, "blocks", "pattern"),
        ({"blocks": {"a": {}}, "pattern": ["b"]}, "pattern", "not known"),
        ({"blocks": {"a": {}}, "pattern": []}, "None", "pattern is empty"),
        ({"attention": None, "state_space": {**SPACE, "heads": 0}}, "state_space", "needs heads"),
        ({"attention": None, "state_space": {**SPACE, "heads": 5}}, "state_space", "5 heads"),
        ({"attention": None, "state_space": {**SPACE, "version": 1}}, "state_space", "dt_rank"),
        ({"cross_attention": {"heads": 4}}, "cross_attention", "needs an encoder"),
        ({"weights_dtype": "int5"}, "weights_dtype", "known"),
    ],
)
def test_a_mistake_is_told_where_it_is(changes: dict[str, Any], path: str, words: str) -> None:
    found = problems(**changes)
    assert words in found[path]


def test_cross_attention_needs_an_encoder_of_its_width() -> None:
    encoder = {"hidden": 32, "layers": 1, "attention": {"heads": 4}}
    found = problems(cross_attention={"heads": 4}, encoder=encoder)
    assert "width 64" in found["encoder.hidden"]


def test_mistakes_in_several_blocks_are_told_at_once_with_their_lines() -> None:
    text = """\
title: a
hidden: 64
layers: 2
vocabulary: 100
attention: {heads: 4}
blocks:
  one: {attention: {heads: 5}}
  two: {attention: {heads: 4, kv_heads: 3}}
pattern: [one, two, three]
encoder:
  hidden: 10
  layers: 1
  attention: {heads: 3}
"""
    with pytest.raises(ConfigError) as caught:
        to_architecture(parse_document(text, "model.yaml"))
    found = {str(each.path): each.line for each in caught.value.problems}
    assert found == {
        "blocks.one.attention.heads": 7,
        "blocks.two.attention": 8,
        "encoder.attention.heads": 13,
        "pattern": 9,
    }


def test_every_number_of_the_form_is_described_in_its_schema() -> None:
    schema = ModelForm.model_json_schema()
    for name in ("AttentionForm", "ExpertsForm", "EncoderForm", "StateSpaceForm"):
        own = schema["$defs"][name]["properties"]
        numbers = {key for key, each in own.items() if each.get("type") == "integer"}
        assert numbers
        assert all(own[key].get("description") for key in numbers), name
