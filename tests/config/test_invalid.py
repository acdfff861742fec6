"""Each mistake that a person can make in a configuration is named with its place and what to do."""

from pathlib import Path

import pytest

from exporter.config import load
from exporter.errors import ConfigurationError
from tests.config.invalid import CASES, FOLDER, Case, read_cases

SECRET = "hunter2 is secret"
ENVIRON = {"SECRET": SECRET, "EMPTY": "", "YAML": "kunshan\n    colour: blue"}
FILES = {
    "good-token": b"a-good-token\n",
    "empty-token": b"\n  \n",
    "chinese-token": "令牌\n".encode(),
    "latin-1-token": b"m\xfcller",
    "two-line-token": b"first\nsecond\n",
    "not-a-certificate.pem": b"this is no certificate\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the cases refer to."""
    folder = tmp_path_factory.mktemp("invalid")
    (folder / "files").mkdir()
    for name, content in FILES.items():
        (folder / "files" / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_mistake_is_named_with_its_place_and_what_to_do(
    case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    path = Path("exporter.yml")
    path.write_text(case.text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(path, ENVIRON)
    assert str(caught.value).splitlines() == [f"exporter.yml:{message}" for message in case.expected]


def test_names_of_cases_are_unique() -> None:
    assert len(CASES) == sum(len(read_cases(path)) for path in FOLDER.glob("*.yml"))


@pytest.mark.parametrize("secret", ["hunter2", "made-up", "secret-token", "秘密"])
def test_no_message_repeats_a_variable_or_what_stands_where_a_secret_belongs(secret: str) -> None:
    assert [case.name for case in CASES.values() if secret in "\n".join(case.expected)] == []
