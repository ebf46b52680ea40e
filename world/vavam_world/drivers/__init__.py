"""Drivers that need no model: expert, constant velocity, lane follower."""
