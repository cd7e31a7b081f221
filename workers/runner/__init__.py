"""The process that computes shards, ``python -m workers.runner``, and ``process``: how its supervisor sees it."""
