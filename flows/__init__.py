"""Prefect flows that run the DVC pipeline: observed, GPU-slotted and scheduled."""
