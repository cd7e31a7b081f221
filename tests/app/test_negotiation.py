import pytest

from app.negotiation import preferred

JSON, LINES, ND = OFFERED = ("application/json", "application/jsonl", "application/x-ndjson")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html", JSON),  # names none of ours, which RFC 9110 allows to disregard
        ("text/html, */*;q=0.8", JSON),
        ("application/json, text/plain, */*", JSON),
        ("application/jsonl", LINES),
        ("APPLICATION/JSONL", LINES),
        ("application/jsonl, */*", LINES),
        ("*/*, application/jsonl", LINES),  # named most exactly
        ("application/x-ndjson, application/jsonl", ND),
        ("application/jsonl;q=0.1, application/json", JSON),
        ("application/jsonl;q=0.1, application/json;q=0.09", LINES),
        ("application/json ; Q = 0.5 , application/jsonl", LINES),
        ("application/jsonl;q=0, */*", JSON),
        ("application/json;q=0, */*", LINES),  # a range's own exclusion counts, not the wider one that accepts
        ("application/json;q=0, application/jsonl;q=0.000, */*;q=0.1", ND),
        ("application/*;q=0, application/jsonl", LINES),
        ("application/jsonl;q=0", JSON),
        ("application/json;q=0", None),
        ("*/*;q=0", None),
        ("*/*;q=0.0", None),
        ("application/*;q=0, */*", None),
        ("application/json;q=0, text/html", None),
        ("application/json;charset=utf-8;q=0", None),
        ("application/json;q=2", JSON),  # no quality: read as if it were not there
        (";;;,,q=0", JSON),
    ],
)
def test_what_is_preferred(accept: str, expected: str | None) -> None:
    assert preferred(accept, OFFERED) == expected


def test_what_does_not_offer_lines_is_json_or_nothing() -> None:
    assert [preferred(accept, [JSON]) for accept in ("application/jsonl", "*/*;q=0, application/json")] == [JSON, JSON]
    assert preferred("application/json;q=0, */*;q=1", [JSON]) is None
