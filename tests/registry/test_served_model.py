"""The registered model as MLflow loads and serves it, in processes of their own and with pickle disabled."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencomp.codec.codec import Codec
from gencomp.registry.logged_model import pip_requirements, save_model

LOADING = """
import sys
import mlflow.pyfunc, pandas
from mlflow.exceptions import MlflowException

model = mlflow.pyfunc.load_model(sys.argv[1])

def answer(op, data):
    return model.predict(pandas.DataFrame([{"op": op, "data": data}]))["data"][0]

stream = answer("compress", sys.stdin.read())
print(stream)
print(answer("decompress", stream))
for op, data in (("guess", stream), ("decompress", stream[:8]), ("decompress", "no base64"), ("compress", stream)):
    try:
        answer(op, data)
    except MlflowException as error:
        print(str(error))
import gencomp
print(gencomp.__file__)
"""


@pytest.fixture(scope="module")
def saved(packages: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(packages[0], tmp_path_factory.mktemp("saved"))


@pytest.fixture
def picture() -> bytes:
    """A PNG file of 45 x 30 pixels."""
    pixels = np.random.default_rng(1).integers(0, 256, (30, 45, 3), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return png.getvalue()


def test_the_loaded_model_compresses_and_decompresses_as_the_codec_does_and_refuses_in_one_line(
    saved: Path, picture: bytes, packages: tuple[Path, Path], python_env: dict[str, str], tmp_path: Path
) -> None:
    environment = {name: value for name, value in python_env.items() if name != "PYTHONPATH"}
    finished = subprocess.run(
        [sys.executable, "-c", LOADING, str(saved)],
        env=environment | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        input=base64.b64encode(picture).decode(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=200,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    stream, decoded, *refusals, code = finished.stdout.splitlines()
    codec = Codec.from_reference(packages[0])
    assert base64.b64decode(stream) == codec.compress(Image.open(io.BytesIO(picture)))
    image = Image.open(io.BytesIO(base64.b64decode(decoded)))
    assert image.size == (45, 30)
    assert np.array_equal(np.asarray(image), np.asarray(codec.decompress(base64.b64decode(stream))))
    assert len(refusals) == 4
    assert "op is 'guess', not compress or decompress" in refusals[0]
    assert code.startswith(str(saved / "code"))


def test_the_model_pins_what_it_needs_by_releases_and_names_its_columns(saved: Path) -> None:
    requirements = (saved / "requirements.txt").read_text().splitlines()
    assert set(pip_requirements()) <= set(requirements)
    assert not [requirement for requirement in requirements if "+" in requirement]
    assert "python_model.pkl" not in {path.name for path in saved.rglob("*")}
    description = (saved / "MLmodel").read_text()
    assert '"name": "op"' in description and '"name": "data"' in description


@pytest.mark.slow
def test_a_scoring_server_answers_and_refuses(saved: Path, picture: bytes, python_env: dict[str, str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(saved), "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts `uvicorn` by name
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env=python_env | {"PATH": path, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/ping")
        stream = _invoke(port, "compress", base64.b64encode(picture).decode())
        decoded = _invoke(port, "decompress", stream)
        assert Image.open(io.BytesIO(base64.b64decode(decoded))).size == (45, 30)
        with pytest.raises(urllib.error.HTTPError) as refusal:
            _invoke(port, "decompress", stream[:8])
        assert refusal.value.code == 400
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _invoke(port: int, op: str, data: str) -> str:
    body = json.dumps({"dataframe_records": [{"op": op, "data": data}]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return str(json.load(response)["predictions"][0]["data"])


def _wait(url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(url)
