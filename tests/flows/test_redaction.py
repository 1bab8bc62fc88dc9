from pathlib import Path

import pytest

from flows.redaction import Redaction


@pytest.mark.parametrize(
    ("environment", "text", "shown"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wJalrXUtn"}, "denied for wJalrXUtn.", "denied for ***."),
        ({"SERVICE_TOKEN": "abcdefgh", "OLD_TOKEN": "abcdefghijk"}, "abcdefghijk abcdefgh", "*** ***"),
        ({"HF_TOKEN": "short"}, "a short word", "a short word"),
        ({"PWD": "/home/me/gencomp", "TOKENIZERS_PARALLELISM": "truefalse"}, "in /home/me/gencomp truefalse", None),
        ({}, "no answer from s3+http://me:pa%40ss@host:9000/b", "no answer from s3+http://***@host:9000/b"),
        ({}, "mail to me@example.org about http://host:80/a@b", None),
    ],
)
def test_secrets_and_passwords_in_addresses_are_hidden_and_nothing_else(
    tmp_path: Path, environment: dict[str, str], text: str, shown: str | None
) -> None:
    assert Redaction(tmp_path, environment)(text) == (text if shown is None else shown)


def test_what_dvcs_local_configuration_keeps_secret_is_hidden(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text(
        "['remote \"store\"']\n    url = s3://bucket/100%\n    secret_access_key = planted-here\n"
    )
    assert Redaction(tmp_path, {})("s3://bucket/100% planted-here") == "s3://bucket/100% ***"
