"""Cost: what silicon, masks, ownership and carbon come to. Pure functions of numbers or arrays.

Money is USD, areas mm2, carbon kgCO2e. A range is an array of its low and high ends, or any other
axis: every function works element by element.
"""
