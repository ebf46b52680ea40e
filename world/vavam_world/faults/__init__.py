"""Faults injected between the world and the nodes."""
