"""Around the network: route → command, samples → the one that is followed, the limits of a drivable plan, and the errors of a plan against what was driven."""
