"""Memory asked for before it is needed.

Records of a design point take one or two KB, of which a pass reads some here and some there, which
processors don't foresee: without this a sweep waits for memory up to half of its time.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]

from sim.kernel.compiled import code_generation, intrinsic, types

LINE_B = 64
"""Bytes that memory comes in, on x86 and most Arm processors. A wrong one costs time alone."""


@intrinsic
def prefetch(_: Any, records: Any) -> Any:
    """Nothing: starts to fetch the memory of `records`, an array without gaps."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = code_generation.create_struct_proxy(signature.args[0])(context, builder, values[0])
        size_B = builder.mul(array.nitems, array.itemsize)
        step = ir.Constant(size_B.type, LINE_B)
        word, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        reading, keep, data = (ir.Constant(word, value) for value in (0, 3, 1))
        begin = builder.bitcast(array.data, pointer)
        with code_generation.for_range(builder, builder.udiv(size_B, step)) as line:
            there = builder.gep(begin, [builder.mul(line.index, step)])
            builder.call(ask, [there, reading, keep, data])
        return context.get_dummy_value()

    return types.void(records), emit
