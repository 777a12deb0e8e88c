"""The compiled kernel: `laws` and `fitted` have the laws of time and energy, `serving` the loop.

Pure arithmetic on records; imports no other room. `compiled` sets numba up once.
"""
