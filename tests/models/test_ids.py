import time
import uuid

from models.ids import MODEL, PATTERN, new_id


def test_an_id_is_a_prefix_and_a_uuid_of_version_7() -> None:
    before = time.time_ns() // 1_000_000
    text = new_id(MODEL)
    assert PATTERN.match(text)
    value = uuid.UUID(text.removeprefix("mdl_"))
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert before <= value.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_differ() -> None:
    assert len({new_id(MODEL) for _ in range(1000)}) == 1000
