"""Remedies, obeyed: a case provokes a problem, does what the text says, and it then works."""
