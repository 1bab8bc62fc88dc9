"""The registered model as MLflow loads and serves it (models-from-code): pictures and streams as base64 text.

model = mlflow.pyfunc.load_model("models:/gencomp-gc@champion")
model.predict(pandas.DataFrame([{"op": "compress", "data": base64 of a picture file}]))    -> base64 of a .gnc stream
model.predict(pandas.DataFrame([{"op": "decompress", "data": base64 of a .gnc stream}]))   -> base64 of a PNG file
"""

import base64
import binascii
from pathlib import Path

import pandas  # type: ignore[import-untyped]
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ServedCodec(PythonModel):
    """Columns `op` (compress or decompress) and `data` (base64) in, column `data` (base64) out, row by row."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the package; only here are network libraries imported, so that registering needs none."""
        from gencomp.codec.codec import Codec

        self._codec = Codec.from_reference(Path(context.artifacts["package"]))

    def predict(
        self, context: PythonModelContext, model_input: pandas.DataFrame, params: dict[str, object] | None = None
    ) -> pandas.DataFrame:
        """One answer per row. Raises MlflowException, status 400 when served, for a row that is refused."""
        rows = zip(model_input["op"], model_input["data"], strict=True)
        return pandas.DataFrame({"data": [self._answer(op, data) for op, data in rows]})

    def _answer(self, op: str, data: str) -> str:
        if op not in ("compress", "decompress"):
            raise MlflowException.invalid_parameter_value(f"op is {op!r}, not compress or decompress")
        try:
            given = base64.b64decode(data, validate=True)
            answer = self._compress(given) if op == "compress" else self._decompress(given)
        except (binascii.Error, OSError, ValueError) as error:
            raise MlflowException.invalid_parameter_value(f"{op}: {error}") from None
        return base64.b64encode(answer).decode("ascii")

    def _compress(self, picture: bytes) -> bytes:
        from gencomp.codec.pixels import read_picture

        return self._codec.compress(
            read_picture(picture, max_pixels=self._codec.max_pixels, why=self._codec.why_max_pixels)
        )

    def _decompress(self, stream: bytes) -> bytes:
        from gencomp.codec.pixels import encode_picture

        return encode_picture(self._codec.decompress(stream), ".png")


set_model(ServedCodec())
