"""The operators, one file a family, and the registry of them all."""
