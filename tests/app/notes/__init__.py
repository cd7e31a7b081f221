"""A route with a table of its own, which ``tests/app/test_new_route.py`` adds to a copy of the code: notes that a
tenant keeps."""
