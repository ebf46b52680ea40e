"""Traces as pages, plots and videos."""
