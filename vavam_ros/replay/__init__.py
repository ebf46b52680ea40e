"""Bags in, plans and reports out: the pipeline over recordings, without a ROS graph."""
