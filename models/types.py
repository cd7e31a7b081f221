"""Names of types that need no database: children of workers, which have none, import them from here."""

from typing import Any

Json = dict[str, Any]
