"""Generative image compression at extreme bitrates: `from gencomp import Codec`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gencomp.codec.codec import Codec as Codec

    __version__: str


def __getattr__(name: str) -> object:
    """`Codec` and `__version__` on first use, so that `import gencomp` loads no network library."""
    if name == "Codec":
        from gencomp.codec.codec import Codec

        return Codec
    if name == "__version__":
        from importlib.metadata import version

        return version("gencomp")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
