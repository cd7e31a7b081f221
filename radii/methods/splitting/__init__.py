"""Radii by splitting noise, every offset evaluated."""
