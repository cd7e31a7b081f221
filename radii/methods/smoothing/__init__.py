"""Radii of a smoothed classifier, or whether one radius is reached."""
