"""The process that computes shards (``python -m workers.runner``): it alone imports torch. ``process`` is how its
supervisor sees it, and imports none."""
