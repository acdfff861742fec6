"""One small file for every mistake that a person can make, and exactly what is said about it."""

from pathlib import Path

import pytest

from exporter.config import load
from exporter.errors import ConfigurationError

MUSEUM = Path(__file__).parent / "museum"
EXHIBITS = sorted(MUSEUM.glob("*.yml"))
SECRET = "hunter2 is secret"
ENVIRON = {"MUSEUM_SECRET": SECRET, "MUSEUM_EMPTY": "", "MUSEUM_YAML": "kunshan\n    colour: blue"}


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.stem)
def test_every_mistake_is_named_with_its_place_and_what_to_do(exhibit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MUSEUM)
    with pytest.raises(ConfigurationError) as caught:
        load(Path(exhibit.name), ENVIRON)
    assert f"{caught.value}\n" == exhibit.with_suffix(".txt").read_text(encoding="utf-8")


def test_every_expected_text_belongs_to_an_exhibit() -> None:
    assert [text.stem for text in sorted(MUSEUM.glob("*.txt"))] == [exhibit.stem for exhibit in EXHIBITS]


def test_what_a_variable_was_replaced_with_is_never_shown() -> None:
    texts = [exhibit.with_suffix(".txt").read_text(encoding="utf-8") for exhibit in EXHIBITS]
    assert not [text for text in texts if "hunter2" in text]


def test_what_stands_where_a_secret_belongs_is_never_shown() -> None:
    texts = [exhibit.with_suffix(".txt").read_text(encoding="utf-8") for exhibit in EXHIBITS]
    assert not [text for text in texts if "made-up" in text or "secret-token" in text or "秘密" in text]
