"""`radii delete` and `radii gc`: what goes."""

import importlib
from typing import Any

from radii.cli import settings
from radii.cli.connection import connected
from radii.cli.console import out, plain, print_json
from radii.client.errors import ProblemError


def delete(ids: list[str], *, cascade: bool, url: str | None, as_json: bool) -> None:
    """Delete each of them, and with ``cascade`` what needs it."""
    with connected(url) as client:
        for row_id in ids:
            try:
                document = client.delete(row_id, cascade=cascade)
            except ProblemError as error:
                if error.slug == "still-needed":
                    error.add_note(f"All together: radii delete --cascade {row_id}")
                raise
            if as_json:
                print_json(document)
                continue
            also = [rows for rows in document["deleted"] if rows["ids"] != [row_id]]
            words = [f"{rows['count']} {_counted(rows['noun'], rows['count'])}" for rows in also]
            out.print(plain(f"{row_id} is deleted{', and with it ' * bool(words)}{', '.join(words)}"), soft_wrap=True)


def _counted(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}es" if noun.endswith("ch") else f"{noun}s"


def collect(*, dry_run: bool) -> None:
    """Remove what is kept no longer, or say what that is. Works on the database and the blobs themselves."""
    chosen = settings.parse([])
    housekeeping: Any = importlib.import_module("models.housekeeping")
    done = housekeeping.once(chosen, dry_run=dry_run)
    out.print(plain(f"{'would remove' if dry_run else 'removed'} {done.words}"), soft_wrap=True)
