"""Licences of pictures that may not be passed on."""

RESERVED = "no redistribution"
"""In the terms of such pictures, as in those of Cityscapes."""


def reserved(license: str | None) -> bool:
    """Whether a licence forbids passing pictures on, so far as it says so in these words."""
    return license is not None and RESERVED in license.lower()
