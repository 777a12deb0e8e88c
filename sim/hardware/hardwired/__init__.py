"""Hardwired-neuron LPU (Metal-Embedding): weights as wires, in chips on a grid."""
