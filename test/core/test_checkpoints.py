"""Upstream checkpoints: names, aliases and divisors. Files are written here as upstream writes them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vavam_ros.core.contracts import ArtifactError, ConfigError, DivisorError
from vavam_ros.core.model import VaVAM
from vavam_ros.core.spec import VAVAM_B, VAVAM_L, VAVAM_S, ModelSpec
from vavam_ros.core.upstream.checkpoints import open_checkpoint
from vavam_ros.core.upstream.mup_shapes import action_shapes, check_base_shapes, video_shapes

_spec = importlib.util.spec_from_file_location("upstream_files", Path(__file__).with_name("upstream_files.py"))
assert _spec is not None
assert _spec.loader is not None
up = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(up)

GRID = (2, 3)
Content = dict[str, Any]


@pytest.fixture(scope="module")
def model() -> VaVAM:
    return up.make_model()


def save(tmp_path: Path, content: Content) -> Path:
    return up.write(tmp_path / "upstream.pt", content)


def test_vavam_gives_back_every_weight_and_size(model: VaVAM, tmp_path: Path) -> None:
    upstream = open_checkpoint(save(tmp_path, up.vavam_content(model)), grid_hw=GRID)
    assert upstream.kind == "vavam"
    assert upstream.spec == up.TINY
    assert upstream.step == 7251
    got, want = upstream.build("cpu").state_dict(), model.state_dict()
    assert got.keys() == want.keys()
    assert all(torch.equal(got[n], want[n]) for n in want)
    assert upstream.parameters == sum(t.numel() for t in want.values())


def test_correct_spelling_of_the_base_shapes_is_read_too(model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    content["action_mup_base_shapes"] = content.pop("action_mup_base_shapess")
    assert open_checkpoint(save(tmp_path, content), grid_hw=GRID).spec == up.TINY


@pytest.mark.parametrize("key", ["gpt_mup_base_shapes", "action_mup_base_shapess"])
def test_a_file_without_divisors_is_refused(key: str, model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    del content[key]
    with pytest.raises(DivisorError, match="cannot establish the muP readout divisor"):
        open_checkpoint(save(tmp_path, content), grid_hw=GRID)


def test_missing_base_shapes_can_be_given(model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    shapes = [up.write_base_shapes(tmp_path / f"{i}.bsh", content.pop(k)) for i, k in enumerate(("gpt_mup_base_shapes", "action_mup_base_shapess"))]
    file = save(tmp_path, content)
    assert open_checkpoint(file, grid_hw=GRID, base_shapes=[str(s) for s in shapes]).spec == up.TINY
    assert open_checkpoint(file, grid_hw=GRID, base_shapes=[str(s) for s in reversed(shapes)]).spec == up.TINY
    with pytest.raises(DivisorError, match="action expert"):
        open_checkpoint(file, grid_hw=GRID, base_shapes=[str(shapes[0])])


NAMES = ("gpt2_24layers_basewidth256", "actionexpert_24layers_baseattentiondim256_baseembeddingdim64")


@pytest.mark.parametrize("given", [NAMES, NAMES[::-1], tuple(f"mup_shapes/{n}.bsh" for n in NAMES)])
def test_missing_base_shapes_can_be_given_by_name(given: tuple[str, ...], tmp_path: Path) -> None:
    """Each name goes to the half of the model that it belongs to, in whatever order."""
    content = up.vavam_content(up.make_model(up.deeper(24)))
    del content["gpt_mup_base_shapes"], content["action_mup_base_shapess"]
    file = save(tmp_path, content)
    spec = open_checkpoint(file, grid_hw=GRID, base_shapes=given).spec
    assert (spec.video.mup_base_width, spec.action.mup_base_width) == (256, 64)
    for alone, lacking in ((given[0], given[1]), (given[1], given[0])):
        part = "action expert" if "actionexpert" in lacking else "video model"
        with pytest.raises(DivisorError, match=f"{part}: cannot establish"):
            open_checkpoint(file, grid_hw=GRID, base_shapes=[alone])


def test_a_known_name_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    content = up.vavam_content(up.make_model(up.deeper(24)))
    with pytest.raises(DivisorError, match="action expert: the file's base shapes give base width 4, those given 64"):
        open_checkpoint(save(tmp_path, content), grid_hw=GRID, base_shapes=[NAMES[1]])


@pytest.mark.parametrize("given", ["gpt2_24layers_basewidth265", "missing.bsh"])
def test_base_shapes_that_are_neither_file_nor_name_are_refused_even_where_none_are_needed(given: str, model: VaVAM, tmp_path: Path) -> None:
    with pytest.raises(DivisorError, match=f"got '{given}', which is neither a file nor a known name; .*{NAMES[0]}"):
        open_checkpoint(save(tmp_path, up.vavam_content(model)), grid_hw=GRID, base_shapes=[given])


@pytest.mark.parametrize("content", ["just text", "[1, 2]", "a: {b: 1}", "a: [x]", "a: ["])
def test_a_base_shape_file_of_another_kind_is_refused(content: str, model: VaVAM, tmp_path: Path) -> None:
    file = tmp_path / "shapes.yaml"
    file.write_text(content)
    with pytest.raises(ArtifactError, match=r"shapes\.yaml.*(expected YAML|not a readable)"):
        open_checkpoint(save(tmp_path, up.vavam_content(model)), grid_hw=GRID, base_shapes=[str(file)])


def edit(name: str, axis: int, value: int | None) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        sizes = list(content["gpt_mup_base_shapes"][name])
        sizes[axis] = value
        content["gpt_mup_base_shapes"][name] = tuple(sizes)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(edit("transformer.wie.weight", 1, 32), "transformer.h.0.attn.c_attn.weight|belong to another model", id="readout of another width"),
        pytest.param(edit("transformer.wie.weight", 1, None), "base width", id="readout that does not grow"),
        pytest.param(edit("transformer.h.1.mlp.c_fc.weight", 0, None), "c_fc", id="growing size written as fixed"),
        pytest.param(edit("transformer.wse.weight", 1, 8), "wse", id="embedding of another width"),
        pytest.param(lambda c: c["gpt_mup_base_shapes"].pop("transformer.wte.weight"), "lack", id="a tensor left out"),
    ],
)
def test_base_shapes_are_checked_tensor_by_tensor(change: Callable[[Content], None], message: str, model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    change(content)
    with pytest.raises(DivisorError, match=message):
        open_checkpoint(save(tmp_path, content), grid_hw=GRID)


def test_null_stands_for_a_size_that_does_not_grow() -> None:
    v = up.TINY.video
    base = video_shapes(v, v.mup_base_width)
    given = {n: tuple(None if s in (65, 6, 3) else s for s in sizes) for n, sizes in base.items()}
    check_base_shapes(given, video_shapes(v, v.width), base, "test")


@pytest.mark.parametrize("spec", [VAVAM_S, VAVAM_B, VAVAM_L], ids=lambda s: s.name)
def test_released_sizes_have_the_published_number_of_parameters(spec: ModelSpec) -> None:
    count = lambda shapes: sum(a * b for a, b in shapes.values())  # noqa: E731
    video = {"vavam-s": 182_901_504, "vavam-b": 319_366_144, "vavam-l": 1_242_712_064}
    expert = {"vavam-s": 21_346_752, "vavam-b": 37_948_672, "vavam-l": 151_788_032}
    assert count(video_shapes(spec.video, spec.video.width)) == video[spec.name]
    assert count(action_shapes(spec.video, spec.action, spec.action.width, spec.video.width)) == expert[spec.name]


def test_aliases_must_agree(model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    name = "vam.joint_model.gpt.transformer.h.1.mlp.c_fc.weight"
    content["state_dict"][name] = content["state_dict"][name].clone()  # equal values in another place are fine
    assert open_checkpoint(save(tmp_path, content), grid_hw=GRID).spec == up.TINY
    content["state_dict"][name][0, 0] += 1
    with pytest.raises(ArtifactError, match="one tensor in the model but differ"):
        open_checkpoint(save(tmp_path, content), grid_hw=GRID)


def test_an_untied_readout_is_refused(model: VaVAM, tmp_path: Path) -> None:
    content = up.vavim_content(model)
    content["state_dict"]["network.lm_head.weight"] = torch.zeros(65, 32)
    with pytest.raises(ArtifactError, match="not tied"):
        open_checkpoint(save(tmp_path, content), grid_hw=GRID)


def test_prefixes_count_only_at_the_start(model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    content["state_dict"]["old.vam.gpt.transformer.wte.weight"] = torch.zeros(3, 32)
    with pytest.raises(ArtifactError, match=r"old.vam.gpt"):
        open_checkpoint(save(tmp_path, content), grid_hw=GRID)


@pytest.mark.parametrize("name", ["vam.gpt.vam.transformer.wte.weight", "vam.gpt.transformer.h.7.attn.c_attn.weight", "vam.unknown"])
def test_unexpected_tensors_are_named(name: str, model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    content["state_dict"][name] = torch.zeros(96, 32)
    with pytest.raises(ArtifactError, match=r"not part of vavam|1 unexpected"):
        open_checkpoint(save(tmp_path, content), grid_hw=GRID)


def test_missing_tensors_are_named(model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    for prefix in ("vam.", "vam.joint_model."):
        del content["state_dict"][f"{prefix}gpt.transformer.h.1.mlp.c_proj.weight"]
    with pytest.raises(ArtifactError, match=r"1 tensors missing \(video.blocks.1.mlp.down.weight\)"):
        open_checkpoint(save(tmp_path, content), grid_hw=GRID)


def test_a_shape_that_contradicts_the_configuration_is_named(model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    content["hyper_parameters"]["vam_conf"]["action_config"]["action_horizon"] = 6
    content["action_mup_base_shapess"]["action_encoder.action_positional_embedding.weight"] = (6, 4)
    with pytest.raises(ArtifactError, match=r"shape \(4, 8\), expected \(6, 8\)"):
        open_checkpoint(save(tmp_path, content), grid_hw=GRID)


def test_half_precision_becomes_float32(model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    content["state_dict"] = {n: t.half() if t.is_floating_point() else t for n, t in content["state_dict"].items()}
    built = open_checkpoint(save(tmp_path, content), grid_hw=GRID).build("cpu")
    assert all(torch.equal(t, model.state_dict()[n].half().float()) for n, t in built.state_dict().items())


def test_weights_that_are_not_finite_are_refused(model: VaVAM, tmp_path: Path) -> None:
    content = up.vavim_content(model)
    content["state_dict"]["network.transformer.wte.weight"] = torch.full((3, 32), float("inf"))
    file = save(tmp_path, content)
    shapes = up.write_base_shapes(tmp_path / "v.bsh", video_shapes(up.TINY.video, 16), fixed=(65, 6, 3))
    with pytest.raises(ArtifactError, match="NaN or infinity in 1 tensors"):
        open_checkpoint(file, grid_hw=GRID, base_shapes=[str(shapes)]).build("cpu")


class TestVideoModelWithOnlyAPath:
    def test_is_refused(self, model: VaVAM, tmp_path: Path) -> None:
        with pytest.raises(DivisorError, match=r"holds only './mup_shapes/tiny.bsh'; give the file with --base-shapes"):
            open_checkpoint(save(tmp_path, up.vavim_content(model)), grid_hw=GRID)

    def test_takes_a_file(self, model: VaVAM, tmp_path: Path) -> None:
        shapes = up.write_base_shapes(tmp_path / "tiny.bsh", video_shapes(up.TINY.video, 16), fixed=(65, 6, 3))
        upstream = open_checkpoint(save(tmp_path, up.vavim_content(model)), grid_hw=GRID, base_shapes=[str(shapes)])
        assert upstream.kind == "vavim"
        assert upstream.spec.video == up.TINY.video
        video = upstream.build("cpu")
        assert all(torch.equal(t, model.video.state_dict()[n]) for n, t in video.state_dict().items())

    def test_refuses_a_file_of_another_model(self, model: VaVAM, tmp_path: Path) -> None:
        shapes = up.write_base_shapes(tmp_path / "b.bsh", video_shapes(replace(up.TINY.video, layers=3), 16))
        with pytest.raises(DivisorError, match="unknown"):
            open_checkpoint(save(tmp_path, up.vavim_content(model)), grid_hw=GRID, base_shapes=[str(shapes)])

    @pytest.mark.parametrize("where", ["stored path", "argument"])
    def test_takes_a_known_name(self, where: str, tmp_path: Path) -> None:
        model = up.make_model(up.deeper(24))
        content = up.vavim_content(model)
        name = "gpt2_24layers_basewidth256"
        if where == "stored path":
            content["hyper_parameters"]["mup_base_shapes"] = f"./mup_shapes/{name}.bsh"
        upstream = open_checkpoint(save(tmp_path, content), grid_hw=GRID, base_shapes=[] if where == "stored path" else [name])
        assert upstream.spec.video.mup_base_width == 256
        assert upstream.spec.video.readout_divisor == 32 / 256

    def test_refuses_a_known_name_of_other_depth(self, model: VaVAM, tmp_path: Path) -> None:
        with pytest.raises(DivisorError, match="of 24 layers, but the model has 2"):
            open_checkpoint(save(tmp_path, up.vavim_content(model)), grid_hw=GRID, base_shapes=["gpt2_24layers_basewidth256"])


def test_contradicting_base_shapes_are_refused(model: VaVAM, tmp_path: Path) -> None:
    shapes = up.write_base_shapes(tmp_path / "other.bsh", video_shapes(up.TINY.video, 8))
    with pytest.raises(DivisorError, match="base width 16, those given 8"):
        open_checkpoint(save(tmp_path, up.vavam_content(model)), grid_hw=GRID, base_shapes=[str(shapes)])


def test_grid_is_asked_for_unless_known(model: VaVAM, tmp_path: Path) -> None:
    file = save(tmp_path, up.vavam_content(model))
    for grid in (None, (2, 4)):
        with pytest.raises(ConfigError, match=r"6 tokens, got .*--grid HxW"):
            open_checkpoint(file, grid_hw=grid)


@pytest.mark.parametrize("key", ["nb_layers", "dim_heads", "attention_dim", "attn_scale"])
def test_an_expert_that_does_not_go_with_its_video_model_is_refused(key: str, model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    content["hyper_parameters"]["vam_conf"]["action_config"][key] = 7
    with pytest.raises(ArtifactError, match=key):
        open_checkpoint(save(tmp_path, content), grid_hw=GRID)


@pytest.mark.parametrize(("part", "message"), [("gpt_config", r"vam_conf\.gpt_config is missing"), ("action_scaling", "action_scaling: got None")])
def test_sizes_and_rates_that_the_file_lacks_are_named(part: str, message: str, model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    del content["hyper_parameters"]["vam_conf"][part]
    with pytest.raises(ArtifactError, match=message):
        open_checkpoint(save(tmp_path, content), grid_hw=GRID)


def test_whole_numbers_stand_for_floats(model: VaVAM, tmp_path: Path) -> None:
    content = up.vavam_content(model)
    content["hyper_parameters"]["vam_conf"]["action_scaling"] = 70
    assert open_checkpoint(save(tmp_path, content), grid_hw=GRID).spec.flow.action_scale_m == 70.0


def test_what_lies_around_the_weights_does_not_stop_the_reading(model: VaVAM, tmp_path: Path) -> None:
    """Optimiser, schedule and callbacks of a training run hold scalars of NumPy, dtypes and devices."""
    content = up.vavam_content(model) | {
        "callbacks": {"best": np.float64(0.25), "device": torch.device("cpu")},
        "optimizer_states": [{"state": {0: {"step": torch.zeros(()), "exp_avg": torch.zeros(3)}}, "dtype": torch.bfloat16}],
        "lr_schedulers": [{"base_lrs": np.float32(0.1)}],
    }
    assert open_checkpoint(save(tmp_path, content), grid_hw=GRID).spec == up.TINY


@pytest.mark.parametrize("content", [{"weights": 1}, [1, 2], {"state_dict": {"vam.a": 3}}])
def test_other_files_are_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="state_dict"):
        open_checkpoint(save(tmp_path, content), grid_hw=GRID)  # type: ignore[arg-type]
