"""Measurements against named references: `python -m benchmarks.<name> [--quick] [--json FILE]`."""
