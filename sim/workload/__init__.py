"""Workloads: model architectures, their layer graphs, expert routing and traffic."""
