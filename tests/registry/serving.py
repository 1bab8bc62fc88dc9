"""A registered model loaded and served by MLflow, in processes of their own and with pickle disabled."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from gencomp.codec.codec import Codec

WITHOUT_PICKLE = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
SIZES = ((1, 1), (45, 30), (300, 17))
"""Width and height in pixels."""
LOADING = """
import json, sys
import mlflow.pyfunc, pandas
from mlflow.exceptions import MlflowException

model = mlflow.pyfunc.load_model(sys.argv[1])

def answer(op, data):
    try:
        return model.predict(pandas.DataFrame([{"op": op, "data": data}]))["data"][0]
    except MlflowException as error:
        return f"refused: {error}"

import gencomp
print(json.dumps([answer(*request) for request in json.load(sys.stdin)] + [gencomp.__file__]))
"""


def photograph(width: int, height: int) -> bytes:
    """A PNG file."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return png.getvalue()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def by_codec(package: Path) -> list[tuple[bytes, bytes, np.ndarray]]:
    """Of each size: a picture file, its stream and its reconstruction, by the codec itself."""
    codec = Codec.from_reference(package)
    made = []
    for width, height in SIZES:
        png = photograph(width, height)
        stream = codec.compress(Image.open(io.BytesIO(png)))
        made.append((png, stream, np.asarray(codec.decompress(stream))))
    return made


def pixels(data: str) -> np.ndarray:
    """Of a picture file in base64."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def loaded(reference: str, requests: list[tuple[str, str]], environment: dict[str, str], folder: Path) -> list[str]:
    """The answers of `mlflow.pyfunc.load_model(reference)`, and where its code lies."""
    finished = subprocess.run(
        [sys.executable, "-c", LOADING, reference],
        env=environment | WITHOUT_PICKLE,
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=200,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return list(json.loads(finished.stdout.splitlines()[-1]))


@contextmanager
def served(reference: str, environment: dict[str, str], folder: Path) -> Iterator[int]:
    """`mlflow models serve` on loopback; yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", reference, "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts `uvicorn` by name
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment | WITHOUT_PICKLE | {"PATH": path},
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=folder,
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline and process.poll() is None, log.read_text()[-2000:]
                time.sleep(0.2)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def invoke(port: int, op: str, data: str) -> str:
    """What the served model answers. Raises HTTPError when it refuses."""
    body = json.dumps({"dataframe_records": [{"op": op, "data": data}]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return str(json.load(response)["predictions"][0]["data"])
