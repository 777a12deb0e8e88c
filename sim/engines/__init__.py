"""Engines: closed-form roofline and event-driven serving, both on the one kernel."""
