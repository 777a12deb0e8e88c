"""Our model YAMLs: each loads, names its source, and says the same as its config.json."""

from __future__ import annotations

import os

import pytest

from sim.config.catalogue import load_model
from sim.config.library import names
from sim.config.sources import load_sources
from sim.results.describe import default_precision
from sim.workload.hugging_face import architecture_from_json
from sim.workload.layers import build_graph

DATA = os.environ.get("SIM_DATA")
MODELS = names("models")
WITHOUT_A_FILE = {
    "bert-tiny", "gemma-3-27b", "glam-143b", "llama-3.3-70b", "phi-2", "qwen3-14b", "qwq-32b",
}  # fmt: skip
STORED_WIDER = {"gemma-2-2b"}
"""The file is of the base model, stored in fp32; ours is as the tuned one is published, in bf16."""
DIFFERENT = {"gpt3-175b"}
"""The file has no vocabulary; the library's model has GPT-3's (tests/validation)."""


def test_there_are_enough_of_them() -> None:
    assert len(MODELS) >= 36


@pytest.mark.parametrize("name", MODELS)
def test_a_model_names_a_source_of_the_library(name: str) -> None:
    model = load_model(name)
    assert model.name == name
    assert model.source in load_sources()
    assert build_graph(model).parameters > 1e6


@pytest.mark.skipif(not DATA, reason="set SIM_DATA to the folder of models/*.json")
@pytest.mark.parametrize("name", [each for each in MODELS if each not in WITHOUT_A_FILE])
def test_formats_and_context_are_those_of_the_file(name: str) -> None:
    ours, theirs = load_model(name), architecture_from_json(f"{DATA}/models/{name}.json")
    if name not in STORED_WIDER:
        assert ours.weights_dtype == theirs.weights_dtype
    assert ours.quantised_experts_dtype == theirs.quantised_experts_dtype
    assert ours.max_context == theirs.max_context
    if name not in DIFFERENT:
        assert ours.layers == theirs.layers
        assert ours.encoder == theirs.encoder


def test_only_the_experts_of_gpt_oss_are_published_in_four_bits() -> None:
    precision = default_precision(load_model("gpt-oss-20b"))
    assert (precision.weights, precision.experts) == ("bf16", "mxfp4")
    graph = build_graph(load_model("gpt-oss-20b"))
    # the model card (arXiv 2508.10925, table 1) has a checkpoint of 12.8 GiB
    size = graph.weight_bytes(precision.weights, precision.experts)
    assert size == pytest.approx(12.8 * 2**30, rel=0.01)


def test_bert_tiny_fits_the_flash_of_a_microcontroller() -> None:
    assert build_graph(load_model("bert-tiny")).weight_bytes("int8") < 8 * 2**20


def test_grouped_models_of_the_duplex_paper_have_its_kv_cache() -> None:
    """Bytes per token in fp16, from the heads of the paper's table I."""
    kib = {"mixtral-8x7b": 128, "glam-143b": 512, "grok-1": 256, "llama-3-70b": 320,
           "opt-66b": 2304}  # fmt: skip
    for name, expected in kib.items():
        found = build_graph(load_model(name)).kv_bytes_per_token("fp16")
        assert found == expected * 1024, name
