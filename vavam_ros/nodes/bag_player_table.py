"""The parameters of bag_player_node."""

from __future__ import annotations

from vavam_ros.nodes.parameters import Row

PARAMETERS = (
    Row(name="bag", default="", description="What to play: a rosbag2 directory, or an .mcap or .db3 file."),
    Row(name="rate", default=1.0, low=0.0, high=100.0, description="Factor on real time; 0: as fast as possible."),
    Row(name="loop", default=False, description="Begin again at the end; /clock then jumps back."),
    Row(
        name="start_offset_s",
        default=0.0,
        low=0.0,
        high=1e6,
        unit="s",
        description="Begin this far into the bag. Latched messages from before are published first.",
    ),
    Row(name="duration_s", default=0.0, low=0.0, high=1e6, unit="s", description="Play this much of the bag; 0: to its end."),
    Row(name="topics", default="", description="Topics to play, separated by spaces; empty: all."),
    Row(
        name="clock_hz",
        default=40.0,
        low=0.0,
        high=1000.0,
        unit="Hz",
        description="Rate of /clock between messages (it is published with every message too); 0: no clock.",
    ),
    Row(name="start_paused", default=False, description="Wait for `~/pause` (std_srvs/SetBool) with data: false."),
    Row(
        name="wait_for_subscribers_s",
        default=0.0,
        low=0.0,
        high=600.0,
        unit="s",
        description="Wait this long for a subscriber to the camera's topic and to each of wait_for_subscribers_topics (in lock-step: for the answers' "
        "publishers too); then play anyway, with a warning.",
    ),
    Row(
        name="wait_for_subscribers_topics",
        default="",
        description="Further topics, separated by spaces, that need a subscriber before anything is played: `/vavam/tokens` is the planner's.",
    ),
    Row(name="lockstep", default=False, description="Send the next picture only when the results of the one before are back."),
    Row(name="lockstep_timeout_s", default=10.0, low=0.1, high=600.0, unit="s", description="Longest wait for the results of one picture."),
    Row(name="lockstep_image_topic", default="", description="The camera's topic; empty: the only one in the bag."),
    Row(name="lockstep_tokens_topic", default="/vavam/tokens", description="Where FrameTokens come back."),
    Row(name="lockstep_samples_topic", default="/vavam/samples", description="Where TrajectorySamples come back; empty: do not wait for them."),
    Row(
        name="lockstep_tokenize_rate_hz",
        default=2.0,
        low=0.0,
        high=60.0,
        unit="Hz",
        description="The tokenizer's tokenize_rate_hz: which pictures give tokens.",
    ),
    Row(name="lockstep_plan_rate_hz", default=2.0, low=0.0, high=60.0, unit="Hz", description="The planner's plan_rate_hz: which tokens give a plan."),
)
