"""Formats: a device with the kernels that weights of a number format need."""

from __future__ import annotations

from dataclasses import replace

from sim.dtypes import BITS, BLOCKS, Grouped, arithmetic
from sim.hardware.device import Device
from sim.hardware.processor import Processor


def for_weights(device: Device, weights: str) -> Device:
    """`device` as it multiplies weights of a number format.

    Products of weights with a scale a block come from kernels of their own, where the device's
    fitted kernels tell them apart.
    """
    if weights not in BLOCKS:
        return device
    return replace(device, processors=tuple(_in_blocks(each) for each in device.processors))


def converts(processor: Processor, kv: str | Grouped) -> bool:
    """Whether a processor converts codes of the cache one by one before it multiplies them.

    One with arithmetic for the format doesn't, nor do fitted kernels for 8 bits, whose measured
    times have it in them. Nothing multiplies codes in groups as they are.
    """
    if isinstance(kv, Grouped):
        return True
    if BITS[kv] >= 16.0:
        return False
    if kv != "int4" and arithmetic(kv, kv) in processor.peak_flop_per_s:
        return False
    return processor.kernels is None or BITS[kv] < 8.0


def _in_blocks(processor: Processor) -> Processor:
    kernels = processor.kernels
    if kernels is None or not kernels.blocks:
        return processor
    matmul = {**kernels.matmul, **kernels.blocks}
    return replace(processor, kernels=replace(kernels, matmul=matmul))
