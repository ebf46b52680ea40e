"""From a run to what others load: the nodes' model directory, and an upstream-format checkpoint."""
