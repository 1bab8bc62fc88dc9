"""The models of one server: the one that compresses, and the shipped ones, whose streams are decompressed too."""

import threading
from http import HTTPStatus
from pathlib import Path

from gencomp.codec.codec import Codec
from gencomp.codec.container import FINGERPRINT_BYTES
from gencomp.models.package import PackageError, load_package
from gencomp.references import REGISTRY_SCHEME, UnknownModelError, resolve, shipped
from gencomp.serving.refusal import Refusal


class Models:
    """Codecs by fingerprint; those of shipped models are loaded when the first stream asks for them, and kept."""

    def __init__(self, ref: str | Path, *, cache: Path | None = None) -> None:
        """Raises UnknownModelError, also for a model of selective compression, which takes more than a picture."""
        folder = resolve(ref, cache=cache)
        self.name = str(ref) if str(ref).startswith(REGISTRY_SCHEME) else folder.resolve().name
        """Of the model that compresses; of a folder without the way to it, which is no client's business."""
        self.codec = Codec.from_reference(folder)
        """It compresses."""
        self.channels = self.codec.package.config.channels
        if self.codec.package.config.mode == "sc":
            raise UnknownModelError(f"{ref} compresses selectively, which takes more than a picture: serve another one")
        self._loading = threading.Lock()
        self._codecs = {self.fingerprint: self.codec}
        self._shipped = _fingerprints(shipped())

    @property
    def fingerprint(self) -> bytes:
        """As streams of the model that compresses carry it."""
        return self.codec.package.fingerprint[:FINGERPRINT_BYTES]

    def find(self, fingerprint: bytes) -> Codec:
        """The codec of a stream. Raises Refusal, 409, where neither the served nor a shipped model made it."""
        with self._loading:
            if fingerprint not in self._codecs:
                if fingerprint not in self._shipped:
                    raise Refusal(
                        HTTPStatus.CONFLICT, f"made by model {fingerprint.hex()}, which this server does not have"
                    )
                self._codecs[fingerprint] = Codec.from_reference(self._shipped[fingerprint])
            return self._codecs[fingerprint]


def _fingerprints(folders: list[Path]) -> dict[bytes, Path]:
    """Of usable packages, read once, so that no stream of an unknown model makes the server read them again."""
    found: dict[bytes, Path] = {}
    for folder in folders:
        try:
            found.setdefault(load_package(folder).fingerprint[:FINGERPRINT_BYTES], folder)
        except PackageError:
            continue
    return found
