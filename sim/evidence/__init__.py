"""Evidence: what papers print and machines measured, against what the simulator computes."""
