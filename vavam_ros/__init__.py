"""VaVAM on ROS 2: camera and odometry in, a path out. Start reading at `vavam_ros/core/pipeline.py`."""

from pkgutil import extend_path

# The messages (`vavam_ros.msg`) are generated into the install space under this same package name. Extending the path lets a source
# tree find them there, and lets an installed copy of this file find the source tree.
__path__ = extend_path(__path__, __name__)
