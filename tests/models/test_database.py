import json

import pytest
from sqlalchemy import select

from models.database import Database, json_text
from models.repositories import reports
from models.tables import Report
from tests import factories


@pytest.mark.parametrize("text", ["plain", "\\u0000", "\\\\u0000", "\\\\\\u0000", 'é\x1b\n"', "\\"])
def test_json_that_holds_no_nul_stays_as_it_is(text: str) -> None:
    assert json.loads(json_text({text: [text]})) == {text: [text]}


@pytest.mark.parametrize("before", ["", "a", "\x00", "\\", "\\\\", "\\\\\\"])
def test_a_name_from_a_file_may_hold_nul(database: Database, before: str) -> None:
    name = f"{before}\x00b"
    with database.write() as session:
        job = factories.certification(session)
        reports.add_first(session, job.id, {"label": name, name: 1})
    shown = name.replace("\x00", "\ufffd")
    with database.read() as session:
        assert session.scalar(select(Report.document)) == {"label": shown, shown: 1}
