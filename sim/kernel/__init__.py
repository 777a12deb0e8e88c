"""The compiled kernel: `laws` has every law of time and energy, `serving` the scheduling loop.

Pure arithmetic on records; imports no other room. `compiled` sets numba up once.
"""
