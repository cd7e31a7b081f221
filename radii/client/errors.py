from typing import Any


class ClientError(Exception):
    """What a call to the service may raise."""


class Unreachable(ClientError):
    """Nobody answers at the service's URL, or it stopped answering. Is the service up? Start it with `radii up`."""

    def __init__(self, url: str, what: str) -> None:
        super().__init__(f"{url} {what}. Is the service up? `radii up`")
        self.url = url
        self.what = what


class Interrupted(Unreachable):
    """The connection broke after the request was sent, at least in part: the service may have done what it asked."""


class Cancelled(ClientError):
    """The certification was cancelled, so its results are not all there."""

    def __init__(self, job_id: str, at: str = "") -> None:
        super().__init__(f"{job_id} was cancelled; what it had found by then: radii results {job_id}{at}")


class ProblemError(ClientError):
    """The service answered with a problem (RFC 9457); ``document`` is all that it said."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        self.document = document

    @property
    def slug(self) -> str:
        """The last part of ``type``, e.g. ``unsupported-model``."""
        return str(self.document.get("type", "")).rpartition("/")[2]

    @property
    def title(self) -> str:
        return str(self.document.get("title", "The service reported a problem"))

    @property
    def detail(self) -> str | None:
        return self.document.get("detail")

    @property
    def remedy(self) -> str | None:
        return self.document.get("remedy")

    def __str__(self) -> str:
        return "\n".join(part for part in (self.title, self.detail, self.remedy) if part)
