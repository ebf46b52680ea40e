"""The world as the CARLA-ROS bridge shows it: topics, clock, synchronous mode."""
