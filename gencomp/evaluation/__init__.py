"""Metrics, anchors at equal bytes, gates and the report."""
