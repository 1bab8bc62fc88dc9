"""The import rules of the house, and that each DVC stage depends on exactly the code it runs."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from import_closure import PACKAGES, ROOT, closure, extra_files, imported_names, is_code, stage_entry
from ruamel.yaml import YAML

FILES = sorted(str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LOCAL_IMPORTS = {
    "gencomp/models/": ("gencomp.models", "gencomp.config"),
    "gencomp/data/": ("gencomp.data", "gencomp.config"),
    "gencomp/codec/": ("gencomp.codec", "gencomp.models", "gencomp.weights", "gencomp.config", "gencomp.references"),
    "gencomp/weights/": ("gencomp.weights",),
    "gencomp/training/": ("gencomp.training", "gencomp.models", "gencomp.data", "gencomp.weights", "gencomp.config"),
    "gencomp/registry/": ("gencomp",),
    "gencomp/serving/": ("gencomp.serving", "gencomp.codec", "gencomp.models", "gencomp.references"),
    "gencomp/evaluation/study/": ("gencomp.evaluation", "gencomp.serving", "gencomp.codec"),
    "gencomp/evaluation/": (
        "gencomp.evaluation",
        "gencomp.codec",
        "gencomp.models",
        "gencomp.data",
        "gencomp.weights",
        "gencomp.config",
    ),
    "gencomp/": ("gencomp",),
    "stages/": ("stages", "gencomp"),
    "flows/": ("flows", "gencomp"),
}
"""What the files of a folder may import of ours; the first folder that fits counts."""
WORKERS = "gencomp/data/workers.py"
SERVING = "gencomp/serving/"
HOMES: dict[str, str | tuple[str, ...] | None] = {
    **{"prefect": "flows/", "mlflow": "gencomp/registry/", "dvc": None, "dask": WORKERS, "distributed": WORKERS},
    **{"starlette": (SERVING, "gencomp/evaluation/study/"), "uvicorn": SERVING, "prometheus_client": SERVING},
}
"""The folders or files that may import a tool; None: nobody."""


def within(name: str, roots: tuple[str, ...]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


@pytest.mark.parametrize("file", FILES)
def test_local_imports_go_one_way(file: str) -> None:
    allowed = next(roots for folder, roots in LOCAL_IMPORTS.items() if file.startswith(folder))
    local = {name for name in imported_names(file) if name.split(".")[0] in PACKAGES}
    assert {name for name in local if not within(name, allowed)} == set()


@pytest.mark.parametrize(("tool", "home"), HOMES.items())
def test_each_tool_is_imported_in_its_own_folder_only(tool: str, home: str | tuple[str, ...] | None) -> None:
    users = {file for file in FILES if any(within(name, (tool,)) for name in imported_names(file))}
    assert {file for file in users if home is None or not file.startswith(home)} == set()


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith("__init__.py")])
def test_packages_hold_only_a_docstring_so_that_closures_can_leave_them_out(file: str) -> None:
    body = ast.parse((ROOT / file).read_text()).body
    lazy = {"__getattr__", "__dir__"} if file == "gencomp/__init__.py" else set()
    for node in body[1:]:
        assert isinstance(node, ast.FunctionDef | ast.Assign | ast.AnnAssign | ast.ImportFrom | ast.If) and lazy
    assert ast.get_docstring(ast.parse((ROOT / file).read_text()))


def pipeline() -> dict[str, dict[str, object]]:
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


@pytest.mark.parametrize("name", pipeline())
def test_a_stage_depends_on_the_code_it_runs_no_more_and_no_less(name: str) -> None:
    """`make deps` writes what this asks for."""
    definition = pipeline()[name]
    declared = [dep for dep in definition["deps"] if is_code(dep)]
    assert declared == closure(stage_entry(definition)) + extra_files(definition)


@pytest.mark.parametrize("stage", ["download", "semantics", "shard"])
def test_the_data_stages_never_reach_a_network_or_the_codec(stage: str) -> None:
    files = closure(f"stages/{stage}.py")
    assert [file for file in files if file.startswith(("gencomp/models", "gencomp/codec", "gencomp/training"))] == []
    heavy = {file for file in files if any(within(name, ("torch", "onnxruntime")) for name in imported_names(file))}
    assert heavy == ({"gencomp/data/segmentation.py"} if stage == "semantics" else set())


def test_label_maps_need_no_network_where_none_is_named(tmp_path: Path) -> None:
    program = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnxruntime") or name == "gencomp.data.segmentation":
            raise ImportError(f"{name} is for those who name a network")
sys.meta_path.insert(0, Refuse())
from pathlib import Path
from PIL import Image
from stages import download, semantics
Path("photos").mkdir()
Image.new("RGB", (20, 10)).save("photos/a.jpg")
Image.new("L", (20, 10)).save("photos/a.labels.png")
Path("params.yaml").write_text(
    "{datasets: {own: {source: {kind: folder, root: photos, validation_share: 0, classes: [sky]}, watch: photos, "
    "selection: {recipe: none, minimum_side: 1}, shard_samples: 9, maximum_missing: 0, maximum_megabytes: 1, "
    "maximum_megapixels: 1, subset: {}}}}"
)
download.main("own")
semantics.main("own")
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "data/semantics/own").glob("*.tar"))


def test_an_application_needs_only_the_light_core() -> None:
    """Run in a process of its own, in which every other installed package is refused."""
    program = """
import sys
class Refuse:
    refused = ("mlflow", "dvc", "prefect", "webdataset", "albumentations", "cv2", "torchmetrics", "accelerate",
               "skimage", "sklearn", "scipy", "rich", "jinja2", "psutil", "pydantic", "requests", "yaml",
               "starlette", "uvicorn", "prometheus_client")
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.refused:
            raise ImportError(f"{name} is outside the light core")
sys.meta_path.insert(0, Refuse())
from gencomp import Codec
import gencomp.cli
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr


def test_training_runs_without_the_pipelines_tools() -> None:
    """`gencomp.training` is used on machines that have neither DVC nor Prefect nor MLflow."""
    trainer = closure("gencomp/training/trainer.py")
    tools = {name.split(".")[0] for file in trainer for name in imported_names(file)}
    assert tools & {"mlflow", "dvc", "prefect", "dask", "distributed", "httpx"} == set()


def test_no_module_is_named_after_a_tool() -> None:
    """flows/dvc.py would shadow the package."""
    assert {Path(file).stem for file in FILES} & {"dvc", "mlflow", "prefect", "dask", "torch"} == set()
