"""Univariate cones: several nodes that are one scalar function, and the largest slope of any such function, proved.

`find` makes them; it builds operators, which in turn say how they act on a `jet.Jet`, so nothing is imported here.
"""
