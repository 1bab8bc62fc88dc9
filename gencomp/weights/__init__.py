"""Weights of the feature networks: where they come from, and the cache that holds them as safetensors."""
