"""The ROS 2 nodes: parameters, message conversion, callbacks, diagnostics. All arithmetic on poses, tokens and tensors is in `vavam_ros.core`."""

import os

# Before torch is imported, whose OpenMP (GNU's, on Linux) reads it once. Its threads wait for each other by spinning for milliseconds; as soon as two
# processes, or the two inference threads of one, share the cores, that takes the core from the thread that is waited for: plans of the small model were up to
# 14 times slower. A short spin costs 3 % on an idle machine and is two to three times faster on a busy one (docs/results/performance.md). Set it yourself to
# have it otherwise.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
