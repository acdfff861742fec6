"""Seeds of fuzzing, and each input that once found a mistake."""

import pytest

from tests.fuzz.targets import CORPUS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_of_a_target_find_no_mistake(name: str) -> None:
    target = TARGETS[name]
    for data in target.seeds():
        target.run(data)
    for path in sorted((CORPUS / name).glob("*")):
        target.run(path.read_bytes())
