"""The ROS 2 nodes: parameters, message conversion, callbacks, diagnostics. All arithmetic on poses, tokens and tensors is in `vavam_ros.core`."""

import os

# Before torch is imported, which reads it once. OpenMP threads wait for each other by spinning; as soon as two processes (or the two inference threads of one)
# share the cores, that takes the core from the thread that is waited for: plans of the small model were 14 times slower on a busy two-core machine
# (docs/results/performance.md). Sleeping instead costs microseconds. Set it yourself to have it otherwise.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
