"""Radii by bounds near each input."""
