"""Written: fitted constants as the YAML files that devices name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sim.config.fields import Reading
from sim.config.runtime_form import HabitsForm
from sim.hardware.kernels import Kernels, Line, Protocols
from sim.hardware.power import PowerLaw
from sim.hardware.runtime import Runtime

SECTIONS: Final = ("matmul", "blocks", "decode", "prefill", "experts", "vector")
_KEYS: Final = {"depth_s": "depth_time", "cache_B_per_s": "cache", "flop_J": "flop"}


def _amount(name: str, value: float) -> tuple[str, str]:
    """Key and text of a constant, in a unit that reads well."""
    if name == "cache_B_per_s":
        return _KEYS[name], f"{value / 1e9:.4g} GB/s"
    if name == "flop_J":
        return _KEYS[name], f"{value * 1e12:.4g} pJ/flop"
    if name.endswith("_s"):
        return _KEYS.get(name, name.removesuffix("_s")), seconds(value)
    return name, f"{value:.4g}"


def seconds(value: float) -> str:
    """A time in microseconds, or in nanoseconds below a tenth of one."""
    return f"{value * 1e6:.4g} us" if value >= 1e-7 or value == 0.0 else f"{value * 1e9:.4g} ns"


def kernels_text(
    kernels: Kernels, *, title: str, date: str, errors: Mapping[str, float], about: str
) -> str:
    """The file of `kernels`; `errors` are median errors by "dataset/table phase"."""
    lines = _head(title, "kernels-fitted-2026-11", kernels.fitted_on, date, errors, about)
    if kernels.cores:
        own = ", ".join(f"{name}: {value:.4g}" for name, value in kernels.cores.items())
        lines.append(f"cores: {{{own}, source: nvidia-sm-widths}}")
    if kernels.scale:
        clock, stream = kernels.scale["clock_Hz"] / 1e9, kernels.scale["stream_B_per_s"] / 1e9
        flops = kernels.scale["flops"]
        lines.append(
            f"scale: {{clock: {clock:.4g} GHz, stream: {stream:.4g} GB/s, flops: {flops:.4g}}}"
        )
    for section in SECTIONS:
        if not getattr(kernels, section):
            continue
        lines.append(f"{section}:")
        for name, value in getattr(kernels, section).items():
            key, text = _amount(name, value)
            lines.append(f"  {key}: {text}")
    return "\n".join(lines) + "\n"


def protocols_text(
    protocols: Protocols, *, title: str, date: str, errors: Mapping[str, float], about: str
) -> str:
    """The file of `protocols`."""
    lines = _head(title, "protocols-fitted-2026-11", protocols.fitted_on, date, errors, about)
    named: tuple[tuple[str, tuple[str, ...], tuple[Line, ...]], ...] = (
        ("reductions", ("set-up", "ll", "ll128", "simple"), protocols.reductions),
        ("all_to_all", ("set-up", "ll", "simple"), protocols.all_to_all),
        ("send", ("set-up", "ll", "simple"), protocols.send),
    )
    for key, names, each in named:
        lines.append(f"{key}:")
        lines += [f"  {name}: {_line(line)}" for name, line in zip(names, each, strict=True)]
    lines.append(f"copy_share: {protocols.copy:.4g}")
    lines.append(
        f"switch: {{floor: {seconds(protocols.switch_floor_s)}, time: "
        f"{seconds(protocols.switch_s)}, steps: {protocols.switch_steps:.4g}}}"
    )
    if protocols.shot:
        lines.append("shot:")
        lines += [
            f"  {name}: {_line(line)}"
            for name, line in zip(("few", "all"), protocols.shot, strict=True)
        ]
        lines.append(f"  up_to: {protocols.shot_B / 1e6:.4g} MB")
    return "\n".join(lines) + "\n"


_RUNTIME: Final = (
    ("host_step", "host_step_s"), ("host_sequence", "host_sequence_s"), ("launch", "launch_s"),
    ("memory", "memory"), ("slot", "slot_B_per_s"), ("fill", "fill_s"), ("compute", "compute"),
    ("attention", "attention"),
)  # fmt: skip


def runtime_text(
    runtime: Runtime, habits: HabitsForm | None, *, title: str, date: str,
    errors: Mapping[str, float], about: str,
) -> str:  # fmt: skip
    """The file of a runtime; what its `habits` say stays, but the time of a request."""
    lines = _head(title, "runtimes-fitted-2026-11", runtime.fitted_on, date, errors, about)
    if runtime.runs_on is not None:
        lines.insert(lines.index("fitted:"), f"runs_on: {runtime.runs_on}")
    for key, name in _RUNTIME:
        value = getattr(runtime, name)
        if value is None:
            continue
        if name == "slot_B_per_s":
            text = f"{value / 1e9:.4g} GB/s"
        else:
            text = seconds(value) if name.endswith("_s") else f"{value:.4g}"
        lines.append(f"{key}: {text}")
    if habits is not None and runtime.habits is not None:
        lines.append("habits:")
        for key in type(habits).model_fields:
            stated = getattr(habits, key)
            if stated is None:
                continue
            text = stated.text if isinstance(stated, Reading) else str(stated)
            if key == "note":
                text = f'"{text}"'
            if key == "request":
                text = seconds(runtime.habits.request_s)
            lines.append(f"  {key}: {text}")
    return "\n".join(lines) + "\n"


def power_text(
    law: PowerLaw, *, title: str, date: str, errors: Mapping[str, float], about: str
) -> str:
    """The file of a power law; energies of other processes are estimates, which stay."""
    lines = _head(title, "power-fitted-2026-11", law.fitted_on, date, errors, about)
    lines += [
        f"static_per_mm2: {law.static_W_per_mm2:.4g} W",
        f"static_share: {law.static_share:.4g}",
        f"flop: {law.flop_J * 1e12:.4g} pJ/flop",
        f"narrow: {law.narrow:.4g}",
        f"path: {law.path_J_per_B * 1e12:.4g} pJ/B",
        f"kv_path: {law.kv_path_J_per_B * 1e12:.4g} pJ/B",
        "processes:",
    ]
    lines += [f"  {name}: {scale:.4g}" for name, scale in law.processes]
    return "\n".join(lines) + "\n"


def _line(line: Line) -> str:
    return (
        f"{{launch: {seconds(line.launch_s)}, hop: {seconds(line.hop_s)}, share: {line.share:.4g}}}"
    )


def _head(
    title: str, source: str, tables: Sequence[str], date: str, errors: Mapping[str, float],
    about: str,
) -> list[str]:  # fmt: skip
    lines = [f"# {line}" for line in about.splitlines()]
    lines += [f"title: {title}", f"source: {source}", "fitted:", f"  date: {date}"]
    lines.append("  on:" if tables else "  on: []")
    lines += [f"    - {table}" for table in tables]
    if errors:
        lines.append("  median_error:")
        lines += [f"    {key}: {100.0 * error:.1f} %" for key, error in sorted(errors.items())]
    return lines
