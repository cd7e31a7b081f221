"""The radius 0, of everything: a method for a test of how one is added."""
