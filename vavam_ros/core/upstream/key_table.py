"""Names of the weights: ours on the right, those of the published VaVAM checkpoints on the left. One table, read in both directions.

The left names are those inside a checkpoint's `state_dict` after its own prefix (`vam.`) is gone. A VaViM file has the video half alone, without
`gpt.`. Upstream stores some tensors under several names; every such alias leads to the same native name, so that a reader can check that they agree.
"""

from __future__ import annotations

import re

_TABLE = (
    # upstream                                                     native
    ("gpt.transformer.wie.weight", "video.token_embedding.weight"),  # (V, d), also the readout
    ("gpt.transformer.wse.weight", "video.space_embedding.weight"),  # (S, d)
    ("gpt.transformer.wte.weight", "video.frame_embedding.weight"),  # (T, d)
    ("gpt.transformer.h.#.attn.c_attn.weight", "video.blocks.#.attention.qkv.weight"),  # (3d, d), rows q, k, v, each heads-major
    ("gpt.transformer.h.#.attn.c_proj.weight", "video.blocks.#.attention.out.weight"),  # (d, d)
    ("gpt.transformer.h.#.mlp.c_fc.weight", "video.blocks.#.mlp.up.weight"),  # (4d, d)
    ("gpt.transformer.h.#.mlp.c_proj.weight", "video.blocks.#.mlp.down.weight"),  # (d, 4d)
    ("action_expert.action_encoder.linear_1.weight", "action.encoder.action_in.weight"),  # (e, 2)
    ("action_expert.action_encoder.command_embedding.weight", "action.encoder.command_embedding.weight"),  # (commands, e)
    ("action_expert.action_encoder.action_positional_embedding.weight", "action.encoder.waypoint_embedding.weight"),  # (H, e)
    ("action_expert.action_encoder.linear_2.weight", "action.encoder.mix.weight"),  # (e, 2e), columns time, action
    ("action_expert.action_encoder.linear_3.weight", "action.encoder.out.weight"),  # (e, e)
    ("action_expert.transformer.h.#.attn.c_attn.weight", "action.blocks.#.attention.qkv.weight"),  # (3d, e)
    ("action_expert.transformer.h.#.attn.c_proj.weight", "action.blocks.#.attention.out.weight"),  # (e, d)
    ("action_expert.transformer.h.#.mlp.c_fc.weight", "action.blocks.#.mlp.up.weight"),  # (4e, e)
    ("action_expert.transformer.h.#.mlp.c_proj.weight", "action.blocks.#.mlp.down.weight"),  # (e, 4e)
    ("action_expert.action_decoder.weight", "action.readout.weight"),  # (2, e)
)
_TO_NATIVE = dict(_TABLE)
_TO_UPSTREAM = {native: upstream for upstream, native in _TABLE}
_LAYER = re.compile(r"(?<=\.h\.)\d+|(?<=\.blocks\.)\d+")


def upstream_to_native(name: str) -> str | None:
    """Our name of an upstream tensor or of one of its aliases; None for what is no weight (attention masks) or not known."""
    name = name.removeprefix("joint_model.")
    if name == "gpt.lm_head.weight":  # the tied readout
        name = "gpt.transformer.wie.weight"
    return _look_up(_TO_NATIVE, name)


def native_to_upstream(name: str) -> str | None:
    """The upstream name (not an alias) of one of our tensors; None if it has none."""
    return _look_up(_TO_UPSTREAM, name)


def _look_up(table: dict[str, str], name: str) -> str | None:
    """Replace the layer number by #, look up, put the number back."""
    layer = _LAYER.search(name)
    if layer is None:
        return None if "#" in name else table.get(name)
    found = table.get(f"{name[: layer.start()]}#{name[layer.end() :]}")
    return None if found is None else found.replace("#", layer.group())
