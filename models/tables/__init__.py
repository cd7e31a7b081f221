"""The tables, one class a file. Importing this package registers them all with ``Base.metadata``."""

from models.tables.answer import Answer
from models.tables.batch import Batch
from models.tables.certification import Certification
from models.tables.chunk import Chunk
from models.tables.dataset import Dataset
from models.tables.fact import Fact
from models.tables.key import Key
from models.tables.leased import Leased
from models.tables.ledger import Ledger
from models.tables.loose_blob import LooseBlob
from models.tables.model import Model
from models.tables.pace import Pace
from models.tables.presence import Presence
from models.tables.report import Report
from models.tables.result import Result
from models.tables.shard import Shard
from models.tables.upload import Upload

__all__ = [
    "Answer",
    "Batch",
    "Certification",
    "Chunk",
    "Dataset",
    "Fact",
    "Key",
    "Leased",
    "Ledger",
    "LooseBlob",
    "Model",
    "Pace",
    "Presence",
    "Report",
    "Result",
    "Shard",
    "Upload",
]
