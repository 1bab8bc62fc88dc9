"""DVC entry points: `python -m stages.<name> [dataset or variant]`."""
