"""Convolutions: their spectral norm, from the Fourier blocks of a torus that holds the layer."""
