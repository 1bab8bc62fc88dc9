import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gencomp import references
from gencomp.cli import main
from gencomp.codec.codec import Codec
from gencomp.models.content import content_hash
from gencomp.models.package import load_package
from gencomp.references import UnknownModelError, cache_folder, find, packages, pull, registered, resolve, shipped
from gencomp.registry.store import PACKAGE_TAG, RegistryError

PACKAGE = Path(__file__).parent / "codec" / "golden" / "package"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SQLite store in which the golden package is version 1, and champion, of `gencomp-small`."""
    from gencomp.registry.logged_model import log_and_register
    from gencomp.registry.store import connect, experiment_id

    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    client = connect(uri)
    run = client.create_run(experiment_id(client, uri)).info.run_id
    log_and_register(client, "gencomp-small", PACKAGE, run, {PACKAGE_TAG: content_hash(PACKAGE)})
    client.set_registered_model_alias("gencomp-small", "champion", "1")
    return uri


@pytest.fixture
def shipped_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation that ships no models yet, and an empty working folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(references, "SHIPPED_MODELS", tmp_path / "shipped")
    return tmp_path / "shipped"


@pytest.fixture
def in_store(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)


def test_a_folder_is_itself() -> None:
    assert resolve(PACKAGE) == resolve(str(PACKAGE)) == PACKAGE


def test_a_shipped_model_is_named_exactly_or_as_the_newest_of_its_kind(shipped_models: Path) -> None:
    for name in ("light-2", "light-10", "light-9", "street-1"):
        shutil.copytree(PACKAGE, shipped_models / name)
    (shipped_models / "light-11").mkdir()  # not a whole package
    assert [folder.name for folder in shipped()] == ["light-2", "light-9", "light-10", "street-1"]
    assert resolve("light") == shipped_models / "light-10"
    assert resolve("light-2") == shipped_models / "light-2"
    assert resolve("street") == shipped_models / "street-1"
    assert Codec.from_reference().package.fingerprint == load_package(PACKAGE).fingerprint
    for unknown in ("light-1", "light-11", "ligh", "2", "light-"):
        with pytest.raises(UnknownModelError, match=r"shipped model: this installation ships light-2, [^\n]+$"):
            resolve(unknown)


@pytest.mark.parametrize("exists", [False, True])
def test_an_installation_without_models_says_so_in_one_line(shipped_models: Path, exists: bool) -> None:
    if exists:
        shipped_models.mkdir()
        (shipped_models / "README.md").touch()
    assert shipped() == []
    for unknown in ("light", "light-1"):
        with pytest.raises(UnknownModelError, match=f"^{unknown} is neither [^\n]+ this installation ships no models"):
            resolve(unknown)
    with pytest.raises(UnknownModelError, match="this installation ships no models"):
        Codec.from_reference()


def test_a_folder_is_named_by_a_path_or_where_no_shipped_model_has_its_name(shipped_models: Path) -> None:
    for folder in ("mine", "light", "models/gc"):
        shutil.copytree(PACKAGE, folder)
    assert resolve("mine") == Path("mine")
    assert resolve("models/gc") == Path("models/gc")
    assert resolve("light") == Path("light")
    shutil.copytree(PACKAGE, shipped_models / "light-1")
    assert resolve("light") == shipped_models / "light-1"
    assert resolve("./light") == resolve(Path("light")) == Path("light")
    with pytest.raises(UnknownModelError, match="^some/light is not a model package: it has no config.json"):
        resolve("some/light")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tables.json"])
def test_a_folder_without_a_file_of_a_package_is_refused_by_name(tmp_path: Path, name: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "package")
    (tmp_path / "package" / name).unlink()
    with pytest.raises(UnknownModelError, match=f"package is not a model package: it has no {name}"):
        resolve(tmp_path / "package")


@pytest.mark.usefixtures("in_store")
@pytest.mark.parametrize("ref", ["models:/gencomp-small@champion", "models:/gencomp-small/1"])
def test_a_registered_model_is_kept_in_the_cache_under_its_content(tmp_path: Path, ref: str) -> None:
    folder = resolve(ref, cache=tmp_path)
    assert folder == tmp_path / content_hash(PACKAGE)
    assert content_hash(folder) == content_hash(PACKAGE)
    assert resolve(ref, cache=tmp_path) == folder
    assert list(tmp_path.iterdir()) == [folder]  # nothing half-pulled is left
    assert Codec.from_reference(ref, cache=tmp_path).package.fingerprint == load_package(PACKAGE).fingerprint


@pytest.mark.usefixtures("in_store")
def test_unknown_registered_models_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    for ref in ("models:/gencomp-small@nobody", "models:/nothing/1", "models:/gencomp-small"):
        with pytest.raises(RegistryError, match=r"^[^\n]+$"):
            resolve(ref, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("in_store")
def test_registered_models_are_listed_with_their_content() -> None:
    assert [(v.reference, v.package) for v in registered()] == [
        ("models:/gencomp-small@champion", content_hash(PACKAGE))
    ]


@pytest.mark.usefixtures("in_store", "shipped_models")
def test_the_command_line_lists_and_pulls_registered_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    listed = CliRunner().invoke(main, ["models", "list"])
    assert listed.stdout.split() == ["registered", content_hash(PACKAGE)[:12], "models:/gencomp-small@champion"]
    pulled = CliRunner().invoke(main, ["models", "pull", "models:/gencomp-small@champion", "new/package"])
    assert (pulled.exit_code, pulled.stdout) == (0, "new/package\n")
    assert content_hash(tmp_path / "new" / "package") == content_hash(PACKAGE)


def test_only_registered_models_are_pulled(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="expected models:/NAME@ALIAS or /VERSION"):
        pull("models/gc", tmp_path)


def test_without_mlflow_the_hint_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['mlflow'] = None\n"
        "from pathlib import Path\n"
        "from gencomp.references import UnknownModelError, resolve\n"
        f"Path({str(tmp_path / 'mlflow.db')!r}).touch()\n"
        "try: resolve('models:/a@b', cache=Path('cache'))\n"
        "except UnknownModelError as error: print(error)\n"
    )
    env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path, env=env)
    assert "pip install 'gencomp[registry]'" in done.stdout


def test_packages_are_the_folders_that_hold_all_files(tmp_path: Path) -> None:
    assert packages(tmp_path / "nowhere") == []
    for name in ("b", "a"):
        shutil.copytree(PACKAGE, tmp_path / name)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    (tmp_path / "file").touch()
    assert packages(tmp_path) == [tmp_path / "a", tmp_path / "b"]


def test_a_fingerprint_finds_its_package_past_unusable_ones(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    for name in ("config.json", "model.safetensors", "tables.json"):
        (tmp_path / "broken" / name).write_bytes(b"{}")
    shutil.copytree(PACKAGE, tmp_path / "good")
    head = load_package(PACKAGE).fingerprint[:4]
    assert find(head, packages(tmp_path)) == tmp_path / "good"
    assert find(hashlib.sha256(head).digest()[:4], packages(tmp_path)) is None


@pytest.mark.parametrize("text", [b"[" * 100_000, b" " * (2 << 20)], ids=["nested", "large"])
def test_a_hostile_folder_beside_the_right_one_stops_no_decoder(
    shipped_models: Path, tmp_path: Path, text: bytes
) -> None:
    """Every command that looks for a stream's model reads all packages there are."""
    for name in ("config.json", "tables.json"):
        shutil.copytree(PACKAGE, shipped_models / f"{name}-1")
        (shipped_models / f"{name}-1" / name).write_bytes(text)
    shutil.copytree(PACKAGE, "models/good")
    stream, picture = PACKAGE.parent / "scene.gnc", tmp_path / "scene.png"
    done = CliRunner().invoke(main, ["decompress", str(stream), str(picture)])
    assert (done.exit_code, picture.exists()) == (0, True), done.output
    from gencomp.serving.models import Models

    served = Models("models/good")
    assert served.find(served.fingerprint) is served.codec
    with pytest.raises(UnknownModelError, match=r"^[^\n]*config.json: [^\n]+$"):
        Models("config.json-1")


def test_the_cache_is_under_the_given_home_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder("/somewhere") == Path("/somewhere/gencomp/models")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder(None) == cache_folder("") == Path("/home/someone/.cache/gencomp/models")
