"""How the readers say no."""

from typing import Any

from models.problems import Problem

Json = dict[str, Any]


class Rejected(Exception):
    """The file is not what it should be; the document says why and what to do."""

    def __init__(self, problem: Problem, detail: str, **extensions: Any) -> None:
        super().__init__(detail)
        self.document = problem.document(detail, **extensions)
