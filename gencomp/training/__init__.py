"""Losses, the training loop and its resume state."""
