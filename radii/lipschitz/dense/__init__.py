"""Matrices: their spectral norm, proved, and an estimate of it to train with."""
