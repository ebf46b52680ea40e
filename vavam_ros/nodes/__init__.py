"""The ROS 2 nodes: parameters, message conversion, callbacks, diagnostics. All arithmetic on poses, tokens and tensors is in `vavam_ros.core`."""
