"""Fitted constants as the YAML files that devices name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sim.config.fitted import fitted_document
from sim.config.library import HELD_OUT, title_of
from sim.config.yaml_writer import difference, yaml_text
from sim.hardware.kernels import Kernels, Line, Protocols
from sim.hardware.power import PowerLaw
from sim.hardware.runtime import Runtime

Data = Mapping[str, Any]
ABOUT: Final = "Written by `sim calibrate`: fit again rather than change by hand."
ABOUT_HELD_OUT: Final = (
    "`held_out` has what differs in constants fitted without a part of the data, which\n"
    "`sim validate` predicts that part with."
)
SECTIONS: Final = ("matmul", "blocks", "decode", "prefill", "experts", "vector")
RUNTIME: Final = (
    "host_step_s", "host_sequence_s", "launch_s", "memory", "slot_B_per_s", "fill_s", "compute",
    "attention",
)  # fmt: skip
LINES: Final = {
    "reductions": ("set-up", "ll", "ll128", "simple"),
    "all_to_all": ("set-up", "ll", "simple"),
    "send": ("set-up", "ll", "simple"),
}
_KEYS: Final = {"depth_s": "depth_time"}
_UNITS: Final = {"_B_per_s": (1e9, "GB/s"), "_J": (1e-12, "pJ/flop"), "_Hz": (1e9, "GHz")}


def fitted_text(
    kind: str,
    name: str,
    numbers: Data,
    *,
    fitted_on: Sequence[str],
    date: str,
    errors: Mapping[str, float],
    held_out: Mapping[str, Data],
) -> str:
    """The file of an entry of a kind; `errors` are median errors by "dataset/table phase".

    `held_out` has the numbers fitted without each part of the data.
    """
    fitted: dict[str, Any] = {"date": date, "on": fitted_on}
    if errors:
        fitted["median_error"] = {
            key: f"{100.0 * error:.1f} %" for key, error in sorted(errors.items())
        }
    parts = {part: difference(numbers, others) for part, others in held_out.items()}
    data = {
        "title": title_of(kind, name),
        "source": f"{kind}-fitted-2026-11",
        **{key: numbers[key] for key in ("runs_on",) if key in numbers},
        "fitted": fitted,
        **{key: item for key, item in numbers.items() if key != "runs_on"},
        **({HELD_OUT: parts} if parts else {}),
    }
    return yaml_text(data, f"{ABOUT}\n{ABOUT_HELD_OUT}" if parts else ABOUT)


def kernels_numbers(kernels: Kernels) -> Data:
    """What the file of `kernels` says of them."""
    numbers: dict[str, Any] = {}
    if kernels.cores:
        numbers["cores"] = _amounts(kernels.cores) | {"source": "nvidia-sm-widths"}
    for section in ("scale", *SECTIONS):
        if getattr(kernels, section):
            numbers[section] = _amounts(getattr(kernels, section))
    return numbers


def protocols_numbers(protocols: Protocols) -> Data:
    """What the file of `protocols` says of them."""
    numbers: dict[str, Any] = {
        key: {name: _line(line) for name, line in zip(names, lines, strict=True)}
        for (key, names), lines in zip(
            LINES.items(),
            (protocols.reductions, protocols.all_to_all, protocols.send),
            strict=True,
        )
    }
    numbers["copy_share"] = f"{protocols.copy:.4g}"
    numbers["switch"] = {
        "floor": seconds(protocols.switch_floor_s),
        "time": seconds(protocols.switch_s),
        "steps": f"{protocols.switch_steps:.4g}",
    }
    if protocols.shot:
        few, every = protocols.shot
        up_to = f"{protocols.shot_B / 1e6:.4g} MB"
        numbers["shot"] = {"few": _line(few), "all": _line(every), "up_to": up_to}
    return numbers


def runtime_numbers(name: str, runtime: Runtime) -> Data:
    """What the file `name` of a runtime says of it.

    Habits stay as the library states them, but the time of a request.
    """
    habits = fitted_document("runtimes", name, Path())[1].data.get("habits")
    stated = {name: getattr(runtime, name) for name in RUNTIME}
    numbers: dict[str, Any] = {"runs_on": runtime.runs_on} if runtime.runs_on else {}
    numbers |= _amounts({name: value for name, value in stated.items() if value is not None})
    if habits is not None and runtime.habits is not None:
        numbers["habits"] = {key: str(text) for key, text in habits.items()} | {
            "request": seconds(runtime.habits.request_s)
        }
    return numbers


def power_numbers(law: PowerLaw) -> Data:
    """What the file of a power law says; energies of other processes are estimates, which stay."""
    return {
        "static_per_mm2": f"{law.static_W_per_mm2:.4g} W",
        "static_share": f"{law.static_share:.4g}",
        "flop": f"{law.flop_J * 1e12:.4g} pJ/flop",
        "narrow": f"{law.narrow:.4g}",
        "path": f"{law.path_J_per_B * 1e12:.4g} pJ/B",
        "kv_path": f"{law.kv_path_J_per_B * 1e12:.4g} pJ/B",
        "processes": {name: f"{scale:.4g}" for name, scale in law.processes},
    }


def seconds(value: float) -> str:
    """A time in microseconds, or in nanoseconds below a tenth of one."""
    return f"{value * 1e6:.4g} us" if value >= 1e-7 or value == 0.0 else f"{value * 1e9:.4g} ns"


def _line(line: Line) -> dict[str, str]:
    return {
        "launch": seconds(line.launch_s),
        "hop": seconds(line.hop_s),
        "share": f"{line.share:.4g}",
    }


def _amounts(numbers: Mapping[str, float]) -> dict[str, str]:
    return dict(_amount(name, value) for name, value in numbers.items())


def _amount(name: str, value: float) -> tuple[str, str]:
    """Key and text of a constant: its name without the unit, in a unit that reads well."""
    for ending, (unit, symbol) in _UNITS.items():
        if name.endswith(ending):
            return name.removesuffix(ending), f"{value / unit:.4g} {symbol}"
    if name.endswith("_s"):
        return _KEYS.get(name, name.removesuffix("_s")), seconds(value)
    return name, f"{value:.4g}"
