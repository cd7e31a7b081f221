"""The calls of the API, one file a noun: each has a ``router``, and the schemas of what it takes and gives."""
