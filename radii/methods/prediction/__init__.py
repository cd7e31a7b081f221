"""The class of a smoothed classifier."""
