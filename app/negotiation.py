"""Which of the types that a call answers the client prefers (RFC 9110, 12.5.1)."""

import re
from collections.abc import Sequence

from fastapi import Request

from app.errors import MOST_TEXT, Refusal
from models.problems import Problem

JSON = "application/json"
QUALITY = re.compile(r";\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)", re.IGNORECASE)


async def acceptable(request: Request) -> str:
    """The type to answer with: of those that the call has, the one that the client prefers. Refuses (406) if it
    excludes them all. One that it does not name is no exclusion: then the answer is JSON."""
    offered = (JSON, *request.scope["route"].responses.get(200, {}).get("content", ()))
    accept = ", ".join(request.headers.getlist("accept"))
    found = preferred(accept, offered)
    if found is None:
        detail = f"Accept says {accept[:MOST_TEXT]!r}; this call answers {', '.join(offered)}"
        raise Refusal(Problem.NOT_ACCEPTABLE, detail)
    return found


def preferred(accept: str, offered: Sequence[str]) -> str | None:
    """The type of the highest quality among ``offered``; of several the one named most exactly, then first. If none is
    named, the first of ``offered``, and None if that is excluded."""
    ranges = [_range(one) for one in accept.split(",")]
    ranked = []
    for kind in offered:
        # The most exact range that fits is the one that counts, however good others are.
        fits = [
            (exact, place) for exact in (2, 1, 0) for place, one in enumerate(ranges) if one[0] == _wild(kind, exact)
        ]
        if fits:
            exact, place = fits[0]
            ranked.append((-ranges[place][1], -exact, place, kind))
    taken = [one for one in sorted(ranked) if one[0] < 0]
    if taken:
        return taken[0][3]
    return None if offered[0] in (one[3] for one in ranked) else offered[0]


def _wild(kind: str, exact: int) -> str:
    """The range of media types that ``kind`` lies in: itself, its whole family, or all."""
    return (kind, f"{kind.partition('/')[0]}/*", "*/*")[2 - exact]


def _range(text: str) -> tuple[str, float]:
    """A media range without its parameters, and its quality; one that can't be read is 1."""
    kind = text.partition(";")[0].strip().lower()
    quality = QUALITY.search(text)
    return kind, float(quality[1]) if quality else 1.0
