"""Edge tables: llama.cpp, Ollama, MLC, TensorRT and ExecuTorch on edge devices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from sim.config import library
from sim.engines.roofline import Batch, decode_batch
from sim.errors import ConfigError
from sim.evidence.measured.constants import Constants
from sim.evidence.measured.edge import Setting, Timing, case_rows, cases_in, program_of, prompts
from sim.evidence.measured.formats import Format, Unsupported
from sim.evidence.measured.named import device_name, load_named_model
from sim.evidence.measured.tables import Table
from sim.mapping.program import Program
from sim.workload.architecture import Architecture, Attention, Block, FeedForward

Batches = list[tuple[Batch, float]]
MICRO_BATCH: Final = 512
"""Prompt tokens that llama.cpp processes at a time, unless told otherwise."""
SPARK_MICRO_BATCH: Final = 2048
ANSWER: Final = 200
"""Tokens of context taken where a table gives none: a short question and half of its answer."""
SYSTEMS: Final = (
    (r"GB10", "dgx-spark"), (r"R9700", "radeon-ai-pro-r9700"), (r"7900 XT", "radeon-rx-7900-xt"),
    (r"9070 XT", "radeon-rx-9070-xt"), (r"W7700", "radeon-pro-w7700"),
    (r"6700 XT", "radeon-rx-6700-xt"), (r"RX 7600", "radeon-rx-7600"),
    (r"6500 XT", "radeon-rx-6500-xt"), (r"RX 580", "radeon-rx-580"),
    (r"Framework Mainboard", "ryzen-ai-max-395"), (r"B580", "arc-b580"), (r"B50\b", "arc-pro-b50"),
    (r"A310", "arc-a310"), (r"M3 Ultra", "apple-m3-ultra"),
    (r"M1 Ultra \(48", "apple-m1-ultra-48-core"), (r"M1 Max", "apple-m1-max"),
    (r"M4 Mac mini", "apple-m4"),
)  # fmt: skip
"""GPUs other than NVIDIA's cards by what the name of a system has."""
X86: Final = r"Intel|Ryzen|Framework"
"""Hosts for which AMD has drivers; on the others its GPUs run by Vulkan."""
BOARDS: Final = (
    (r"AmpereOne", "ampereone-a192-32x"), (r"Ryzen AI 5 340", "ryzen-ai-5-340"),
    (r"MS-R1", "cix-p1"), (r"N150", "intel-n150"), (r"Pi 500\+|Pi 5 ", "raspberry-pi-5"),
    (r"Pi 400", "raspberry-pi-400"), (r"Q8400", "core-2-quad-q8400"), (r"DC-ROMA", "eic7702x"),
    (r"P550", "eic7700x"),
)  # fmt: skip
"""Processors likewise, of systems that run on the CPU."""


def smollm2() -> Architecture:
    """SmolLM2-1.7B: the dimensions of its model card."""
    block = Block(
        mixer=Attention(heads=32, kv_heads=32, head_dim=64), ffn=FeedForward(intermediate=8192)
    )
    return Architecture(
        name="smollm2-1.7b", title="SmolLM2 1.7B", hidden=2048, vocabulary=49152,
        layers=(block,) * 24, tied_embeddings=True,
    )  # fmt: skip


def gemma3_4b() -> Architecture:
    """Gemma 3 4B: five sliding layers of 1,024 tokens to one that attends to everything."""
    near = Attention(heads=8, kv_heads=4, head_dim=256, window=1024, qk_norm=True)
    ffn = FeedForward(intermediate=10240)
    layers = tuple(
        Block(mixer=near if index % 6 != 5 else replace(near, window=None), ffn=ffn, norms=4)
        for index in range(34)
    )
    return Architecture(
        name="gemma-3-4b", title="Gemma 3 4B", hidden=2560, vocabulary=262208, layers=layers,
        tied_embeddings=True,
    )  # fmt: skip


def qwen_small() -> Architecture:
    """Qwen2.5 1.5B: the dimensions of its model card."""
    block = Block(
        mixer=Attention(heads=12, kv_heads=2, head_dim=128, bias=True),
        ffn=FeedForward(intermediate=8960),
    )
    return Architecture(
        name="qwen2.5-1.5b", title="Qwen2.5 1.5B", hidden=1536, vocabulary=151936,
        layers=(block,) * 28, tied_embeddings=True,
    )  # fmt: skip


OWN: Final[dict[str, Callable[[], Architecture]]] = {
    "SmolLM2": smollm2, "gemma-3-4b-it-qat-GGUF": gemma3_4b, "qwen2.5-1.5B": qwen_small,
}  # fmt: skip
NAMED: Final = {
    "Qwen2.5-Coder-7B-Q8_0-GGUF": "qwen2.5-7b", "8B": "llama-3-8b", "70B": "llama-3-70b",
    "Llama 3.2:3b": "llama-3.2-3b", "Phi 3.5 3B": "phi-3-mini-4k",
}  # fmt: skip
VISION: Final = {
    "clip-vit-base-patch32": (50, 32), "clip-vit-base-patch16": (197, 16),
    "DINOv2-base-patch14": (257, 14), "vit-base-patch16-224": (197, 16),
    "vit-base-patch32-224": (50, 32),
}  # fmt: skip
"""Tokens and pixels of a patch's side of ViT-B at 224 pixels."""


@cache
def model_of(text: str, folder: Path) -> Architecture:
    """The model that an edge table calls `text`; Unsupported for an unknown one."""
    if text in OWN:
        return OWN[text]()
    if text in VISION:
        base = load_named_model("vit-base-patch16-224", folder)
        if base is None or base.encoder is None:
            raise Unsupported(f"no model {text}")
        tokens, side = VISION[text]
        encoder = replace(base.encoder, tokens=tokens, patch_inputs=3 * side * side)
        return replace(base, name=text, encoder=encoder)
    model = load_named_model(NAMED.get(text, text), folder)
    if model is None:
        raise Unsupported(f"no model {text}")
    return model


def table_device(text: str) -> str:
    """Library name of a device; an unknown one as it is, of which there will be no program."""
    try:
        return device_name(text)
    except ConfigError:
        return text


def apple_name(chip: str, cores: int) -> str:
    """Library name of an Apple chip with so many GPU cores."""
    plain = "apple-" + chip.lower().replace(" ", "-")
    counted = f"{plain}-{cores}-core"
    return counted if counted in library.files("devices") else plain


class Built:
    """Cases of one table; models and programs are built once each."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.cases: list[Timing] = []
        self.programs: dict[tuple[str, Setting], Program] = {}

    def add(
        self, measured: Any, model: str, setting: Setting, phase: str, batches: Iterable[Any],
        produced: float, fold: str,
    ) -> None:  # fmt: skip
        """A case, where something was measured; with a reason in place of a program it can't do."""
        value = float(measured)
        if not np.isfinite(value):
            return
        reason, program, steps = "", None, tuple(batches)
        try:
            program = self.program(model, setting)
        except Unsupported as error:
            reason = str(error)
        self.cases.append(
            Timing(
                measured=value, device=setting.device, phase=phase, dtype=setting.dtype,
                runtime=setting.runtime, fold=fold, program=program, batches=steps,
                produced=produced, stages=setting.stages, pipelined=phase.startswith("prefill"),
                reason=reason, choice=f"{model}|{setting.dtype}|{phase}|{steps}",
            )
        )  # fmt: skip

    def program(self, model: str, setting: Setting) -> Program:
        """The program of a model in a setting."""
        key = (model, setting)
        if key not in self.programs:
            self.programs[key] = program_of(model_of(model, self.table.folder), setting)
        return self.programs[key]


def alone(context: int) -> Batches:
    """One token of one sequence."""
    return [(decode_batch(1, context), 1.0)]


def apple_cases(table: Table) -> list[Timing]:
    """Cases of llama.cpp on Apple chips, Llama 2 7B."""
    built = Built(table)
    for row in table.frame.to_dict("records"):
        name = apple_name(str(row["chip"]), int(row["gpu_cores"]))
        for dtype in ("f16", "q8_0", "q4_0"):
            setting = Setting(device=name, runtime="llama-cpp-metal", dtype=dtype)
            fold = str(row["chip"])
            built.add(
                row[f"{dtype}_pp512"], "llama-2-7b", setting, "prefill",
                prompts(512, MICRO_BATCH), 512, fold,
            )  # fmt: skip
            built.add(row[f"{dtype}_tg128"], "llama-2-7b", setting, "decode", alone(64), 1, fold)
    return built.cases


def gpu_cases(table: Table) -> list[Timing]:
    """Cases of llama.cpp of May 2024, without flash attention, on GPUs, Llama 3."""
    built = Built(table)
    for row in table.frame.to_dict("records"):
        text = str(row["device"])
        apple = re.match(r"(M\d(?: \w+)?) (\d+)-Core", text)
        name = apple_name(apple[1], int(apple[2])) if apple else ""
        name = name or table_device(re.sub(r" \d+GB$", "", text))
        model, _, quant = str(row["model"]).partition(" ")
        setting = Setting(
            device=name, runtime="llama-cpp-metal" if apple else "llama-cpp-cuda",
            dtype="f16" if quant == "F16" else "q4_k_m", stages=int(row["num_devices"]),
            arithmetic="" if apple else "int8", repeats_kv=True,
            expands=not apple and quant != "F16",
        )  # fmt: skip
        for tokens in (512, 1024, 4096, 8192):
            steps = prompts(tokens, MICRO_BATCH)
            built.add(row[f"tg{tokens}"], model, setting, "decode", alone(tokens // 2), 1, name)
            phase = "prefill" if setting.stages == 1 else "prefill, several devices"
            built.add(row[f"pp{tokens}"], model, setting, phase, steps, tokens, name)
    return built.cases


def _spark(model: str) -> Setting:
    dtype = "q8_0" if "Q8_0" in model else "q4_0-qat"
    return Setting(
        device="dgx-spark", runtime="llama-cpp-cuda-graphs", dtype=dtype, arithmetic="int8"
    )


def batched_cases(table: Table) -> list[Timing]:
    """Cases of llama.cpp with flash attention on DGX Spark, several sequences at a time."""
    built = Built(table)
    for row in table.frame.to_dict("records"):
        model, count = str(row["model"]), int(row["batch"])
        prompt, new = int(row["pp"]), int(row["tg"])
        fold = f"{prompt} {count}"
        steps = prompts(prompt, SPARK_MICRO_BATCH, sequences=count)
        built.add(row["s_pp_tok_s"], model, _spark(model), "prefill", steps, prompt * count, fold)
        decode = [(decode_batch(count, prompt + new // 2), 1.0)]
        built.add(row["s_tg_tok_s"], model, _spark(model), "decode", decode, count, fold)
    return built.cases


def depth_cases(table: Table) -> list[Timing]:
    """Cases of llama.cpp on DGX Spark behind a context."""
    built = Built(table)
    for row in table.frame.to_dict("records"):
        model, past = str(row["model"]), int(row["depth"])
        steps = prompts(2048, SPARK_MICRO_BATCH, past)
        built.add(row["pp2048_tok_s"], model, _spark(model), "prefill", steps, 2048, str(past))
        built.add(row["tg32_tok_s"], model, _spark(model), "decode", alone(past + 16), 1, str(past))
    return built.cases


def jetson_cases(table: Table) -> list[Timing]:
    """Cases of MLC (decode) and TensorRT (images) on a Jetson Orin Nano."""
    built = Built(table)
    for row in table.frame.to_dict("records"):
        model = str(row["model"])
        if "images" in str(row["metric"]):
            setting = Setting(device="jetson-orin-nano", runtime="tensorrt-jetson", dtype="f16")
            tokens = VISION.get(model, (0, 0))[0]
            batch = [(Batch(prompts=((tokens, 0, tokens),)), 1.0)]
            built.add(row["orin_nano"], model, setting, "image", batch, 1, model)
            continue
        setting = Setting(device="jetson-orin-nano", runtime="mlc-jetson", dtype="q4f16")
        built.add(row["orin_nano"], model, setting, "decode", alone(ANSWER), 1, model)
    return built.cases


def pi_cases(table: Table) -> list[Timing]:
    """Cases of llama.cpp on a Raspberry Pi 5; benchmarks with one-word answers apart."""
    built = Built(table)
    for row in table.frame.to_dict("records"):
        long = str(row["benchmark"]) in ("gsm8k", "humaneval")
        setting = Setting(
            device="raspberry-pi-5", runtime="llama-cpp-cpu", dtype="q4_k_m", processor="cpu",
            arithmetic="int8",
        )  # fmt: skip
        built.add(
            row["gen_tps"], str(row["family"]), setting,
            "decode" if long else "decode, one-word answers", alone(ANSWER), 1, str(row["family"]),
        )  # fmt: skip
    return built.cases


def phone_cases(table: Table) -> list[Timing]:
    """Cases of ExecuTorch on the CPU of a phone."""
    built = Built(table)
    for row in table.frame.to_dict("records"):
        four = "4-bit" in str(row["quant"])
        setting = Setting(
            device="phone-snapdragon-8-gen-3", runtime="executorch", processor="cpu",
            dtype="int4-g32" if four else "bf16", arithmetic="int8" if four else "fp32",
        )  # fmt: skip
        fold, model = str(row["quant"]), str(row["model"])
        built.add(row["prefill_tok_s"], model, setting, "prefill", prompts(64, 64), 64, fold)
        built.add(row["decode_tok_s"], model, setting, "decode", alone(ANSWER), 1, fold)
    return built.cases


def system_cases(table: Table) -> list[Timing]:
    """Cases of Ollama on computers of all sizes."""
    built = Built(table)
    for row in table.frame.to_dict("records"):
        setting = _system(str(row["system"]), str(row["engine"]) == "CPU")
        built.add(
            row["decode_tok_s"], str(row["model"]), setting, "decode", alone(ANSWER), 1,
            setting.device,
        )  # fmt: skip
    return built.cases


def _system(text: str, on_cpu: bool) -> Setting:
    """Setting of a system by its name, whose GPU is the last thing in it."""
    found = next(((p, d) for p, d in (BOARDS if on_cpu else SYSTEMS) if re.search(p, text)), None)
    name = found[1] if found else text
    card = re.search(r"Nvidia ([^)]+)\)", text)
    if not on_cpu and card and not found:
        name = table_device(card[1])
    if on_cpu:
        runtime, processor = "llama-cpp-cpu", "cpu"
    elif name.startswith("apple"):
        runtime, processor = "llama-cpp-metal", "gpu"
    else:
        of_amd = "ollama-rocm" if re.match(X86, text) else "ollama-vulkan"
        runtime, processor = ("ollama" if card else of_amd), "gpu"
    return Setting(
        device=name, runtime=runtime, dtype="q4_k_m", processor=processor,
        arithmetic="int8" if runtime in ("ollama", "llama-cpp-cpu") else "",
    )  # fmt: skip


BUILDERS: Final[dict[str, Callable[[Table], list[Timing]]]] = {
    "llamacpp_apple_m_series": apple_cases,
    "llamacpp_llama3_gpus": gpu_cases,
    "llamacpp_dgx_spark_batched": batched_cases,
    "llamacpp_dgx_spark_depth": depth_cases,
    "jetson_orin_nano": jetson_cases,
    "raspberry_pi5_energy": pi_cases,
    "executorch_phones": phone_cases,
    "geerling_wall_power": system_cases,
}
COLUMNS: Final = {
    "llamacpp_apple_m_series": ("chip", "gpu_cores", "f16_pp512", "f16_tg128", "q8_0_tg128"),
    "llamacpp_llama3_gpus": ("device", "num_devices", "model", "tg512", "pp512"),
    "llamacpp_dgx_spark_batched": ("model", "pp", "tg", "batch", "s_pp_tok_s", "s_tg_tok_s"),
    "llamacpp_dgx_spark_depth": ("model", "depth", "pp2048_tok_s", "tg32_tok_s"),
    "jetson_orin_nano": ("model", "metric", "orin_nano"),
    "raspberry_pi5_energy": ("family", "benchmark", "gen_tps"),
    "executorch_phones": ("model", "quant", "decode_tok_s", "prefill_tok_s"),
    "geerling_wall_power": ("model", "system", "engine", "decode_tok_s"),
}


def predict_rates(table: Table, constants: Constants) -> pd.DataFrame:
    """Tokens or images a second of an edge table."""
    return case_rows(cases_in(table, BUILDERS[table.name]), constants, better="high")


FORMATS = tuple(
    Format(
        family="edge",
        pattern=f"edge/{name}",
        columns=COLUMNS[name],
        predict=predict_rates,
        unit="tokens/s",
    )
    for name in BUILDERS
)
