"""The pure core: no ROS import, no clock, no thread, no global device. Start reading at `pipeline.py`."""
