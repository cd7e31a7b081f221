"""Radii by a Lipschitz bound."""
