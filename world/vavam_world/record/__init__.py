"""Drives of the expert as bags."""
