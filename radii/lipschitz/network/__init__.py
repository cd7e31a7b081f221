"""Networks: norms composed, sharper rules for several layers at once, pairs of classes, rounding, radii."""
