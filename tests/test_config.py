"""A wrong params.yaml is named in one line: the file, the section, the key."""

from pathlib import Path

import msgspec
import pytest

from gencomp.config import ConfigError, convert, load_section
from gencomp.models.compressor import ModelConfig


def params(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text)
    return path


def test_a_section_becomes_a_frozen_config(tmp_path: Path) -> None:
    path = params(tmp_path, "variants: {gc: {model: {width: 12, channels: 8}}}")
    config = load_section(path, ["variants", "gc", "model"], ModelConfig)
    assert (config.width, config.channels, config.levels) == (12, 8, 5)
    with pytest.raises(AttributeError):
        config.width = 13  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{widht: 12}", ["widht"]),
        ("{width: twelve}", ["width", "int"]),
        ("{channels: 17}", ["channels", "<= 16"]),
        ("{levels: 1}", ["levels", ">= 2"]),
        ("{sigma: 0}", ["sigma", "> 0"]),
    ],
)
def test_unknown_mistyped_and_out_of_range_keys_are_named_in_one_line(
    tmp_path: Path, section: str, words: list[str]
) -> None:
    path = params(tmp_path, f"model: {section}")
    with pytest.raises(ConfigError) as error:
        load_section(path, ["model"], ModelConfig)
    message = str(error.value)
    assert "\n" not in message
    for word in [*words, str(path), "model"]:
        assert word in message


def test_a_missing_key_is_named() -> None:
    class Needs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        steps: int

    with pytest.raises(ConfigError, match="steps"):
        convert({}, Needs, "training")


def test_a_missing_section_names_what_there_is(tmp_path: Path) -> None:
    path = params(tmp_path, "variants: {gc: {}, mse: {}}")
    with pytest.raises(ConfigError, match=r"no `variants\.sc`; known here: gc, mse"):
        load_section(path, ["variants", "sc"], ModelConfig)


@pytest.mark.parametrize("text", ["a: [", "\tx: 1"])
def test_what_is_no_yaml_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_section(params(tmp_path, text), [], ModelConfig)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_section(tmp_path / "params.yaml", [], ModelConfig)
