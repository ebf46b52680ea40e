"""A closed-loop driving world that speaks the CARLA-ROS-bridge contract. The way of the data, folder by folder:

roads → sim → render → bridge (ROS) … or → drivers → scoring → report; `contracts/` holds the seams.
"""
