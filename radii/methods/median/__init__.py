"""Bounds on a smoothed regressor's medians."""
