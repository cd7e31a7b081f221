"""A noun with a table of its own, which ``tests/workers/test_new_noun.py`` adds to a copy of the code: people who wait
to be greeted."""
