"""The stages' losses, gradients and pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch

from vavam_ros.core.contracts import ConfigError
from vavam_ros.core.model import VaVAM, next_token_loss
from vavam_ros.core.model.flow import sample_time_beta
from vavam_ros.core.tokenizer import VQ16, TokenizerSpec
from vavam_ros.core.tokenizer.random_init import init_tokenizer
from vavam_training.contracts import Batch, DataError
from vavam_training.stages.action import ActionOptions, ActionStage
from vavam_training.stages.costs import action_forward_flops, video_forward_flops
from vavam_training.stages.deeper import for_layers, places
from vavam_training.stages.drawing import TRUTH
from vavam_training.stages.video import VideoNet, VideoOptions, VideoStage
from vavam_training.stages.window_length import for_frames

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def batch(*, labelled: bool = True) -> Batch:
    return tiny.mixture(labelled=labelled).batch(range(4))


def alive(stage: ActionStage) -> VaVAM:
    """A model in which no gradient is zero because a weight is."""
    model = stage.build(CPU)
    for name, p in model.named_parameters():
        p.data.add_(0.05 * torch.randn(p.shape, generator=generator(len(name))))
    return model


def gradients(stage: ActionStage, model: VaVAM) -> dict[str, torch.Tensor]:
    model.zero_grad()
    stage.loss(model, batch(), generator(3), "model", 0).total.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def tokenizer() -> VQ16:
    spec = TokenizerSpec(
        channels=8, encoder_multipliers=(1, 1, 1, 1, 1), decoder_multipliers=(1, 1, 1, 1, 1), res_blocks=1, latent=8, codebook_size=16, groups=4,
        image_hw=(32, 48),
    )  # fmt: skip
    vq = VQ16(spec, device="cpu")
    init_tokenizer(vq, generator())
    return vq.eval()


def test_the_video_loss_is_the_models() -> None:
    stage = VideoStage(tiny.SPEC, VideoOptions(init_std=0.1, zero_query=False), 1)
    net, data = stage.build(CPU), batch(labelled=False)
    terms = stage.loss(net, data, generator(), "model", 0)
    torch.testing.assert_close(terms.total, next_token_loss(net.video(data.tokens), data.tokens))
    assert float(terms.parts["bits_per_token"]) == pytest.approx(float(terms.total.detach()) / 0.6931472)
    again = stage.build(CPU)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_recomputed_activations_give_the_same_gradients() -> None:
    found = []
    for recomputed in (False, True):
        stage = VideoStage(tiny.SPEC, VideoOptions(init_std=0.1, zero_query=False, checkpoint_activations=recomputed), 1)
        net = stage.build(CPU)
        stage.loss(net, batch(labelled=False), generator(), "model", 0).total.backward()
        found.append([p.grad for p in net.parameters()])
    for a, b in zip(*found, strict=True):
        assert a is not None
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("video_loss", [0.0, 0.3])
def test_recomputed_activations_of_a_video_model_that_learns_with_the_expert(video_loss: float) -> None:
    """The same gradients, with less kept for them."""
    found, kept = [], []
    for recomputed in (False, True):
        options = ActionOptions(detach_video=False, train_video=True, video_loss=video_loss, checkpoint_activations=recomputed)
        stage = ActionStage(tiny.SPEC, options, 1)
        held: dict[int, int] = {}

        def note(tensor: torch.Tensor, held: dict[int, int] = held) -> torch.Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        model = alive(stage)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            loss = stage.loss(model, batch(), generator(), "model", 0).total
        kept.append(sum(held.values()))
        loss.backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    for name, a in found[0].items():
        if a is not None or found[1][name] is not None:  # the readout where the video has no loss of its own
            torch.testing.assert_close(found[1][name], a)
    assert any(name.startswith("video.") and g is not None and float(g.abs().max()) > 0.0 for name, g in found[1].items())
    assert kept[1] < 0.8 * kept[0]


def test_a_frozen_video_model_has_nothing_to_compute_again() -> None:
    with pytest.raises(ConfigError, match="needs train_video"):
        ActionOptions(checkpoint_activations=True)


def test_detached_or_not_the_expert_learns_the_same() -> None:
    detached = ActionStage(tiny.SPEC, ActionOptions(), 1)
    attached = ActionStage(tiny.SPEC, ActionOptions(detach_video=False), 1)
    model = alive(detached)
    a, b = gradients(detached, model), gradients(attached, model)
    assert a.keys() == b.keys() == {f"action.{n}" for n, _ in model.action.named_parameters()}
    for name in a:
        assert float(a[name].abs().max()) > 0.0, name
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-8)


def test_the_action_loss_is_the_models_and_draws_average_it() -> None:
    stage = ActionStage(tiny.SPEC, ActionOptions(), 1)
    model, data = alive(stage), batch()
    assert data.positions_m is not None
    assert data.command is not None
    source = generator(3)
    noise = torch.randn(data.positions_m.shape, generator=source)
    time = sample_time_beta(data.positions_m.shape[:2], tiny.SPEC.flow.sigma_min, generator=source, device="cpu")
    torch.testing.assert_close(
        stage.loss(model, data, generator(3), "model", 0).total, model.action_loss(data.tokens, data.positions_m, noise, time, data.command)
    )
    with torch.no_grad():
        several = ActionStage(tiny.SPEC, ActionOptions(noise_draws=16), 1)
        mean = torch.stack([stage.loss(model, data, generator(i), "model", 0).total for i in range(64)]).mean()
        drawn = torch.stack([several.loss(model, data, generator(100 + i), "model", 0).total for i in range(4)]).mean()
    assert float(drawn) == pytest.approx(float(mean), rel=0.1)


def test_weights_of_waypoints_scale_each_coordinates_error_and_keep_the_size_of_the_loss() -> None:
    data, h = batch(), tiny.SPEC.action.horizon
    plain = ActionStage(tiny.SPEC, ActionOptions(), 1)
    model = alive(plain)

    def loss(weights: tuple[tuple[float, float], ...]) -> float:
        return ActionStage(tiny.SPEC, ActionOptions(waypoint_weights=weights), 1).loss(model, data, generator(3), "model", 0).total.item()

    alike, ahead, side = loss(((7.0, 7.0),) * h), loss(((1.0, 1e-6),) * h), loss(((1e-6, 1.0),) * h)
    assert alike == pytest.approx(plain.loss(model, data, generator(3), "model", 0).total.item())
    assert alike == pytest.approx((ahead + side) / 2, rel=1e-4)
    assert ahead != pytest.approx(side, rel=0.05)
    with pytest.raises(ConfigError, match="got 2 waypoint_weights, expected one for each of 4"):
        ActionStage(tiny.SPEC, ActionOptions(waypoint_weights=((1.0, 1.0),) * 2), 1)
    with pytest.raises(ConfigError, match="pairs"):
        ActionOptions(waypoint_weights=((1.0, 0.0),) * h)


def test_a_plan_does_not_see_later_frames() -> None:
    stage = ActionStage(tiny.SPEC, ActionOptions(noise_draws=2), 1)
    model, data = alive(stage), batch()
    noisy, time = torch.randn((4, 6, 4, 2), generator=generator()), torch.full((4, 6), 0.5)
    command = torch.zeros((4, 6), dtype=torch.int64)
    with torch.no_grad():
        before = model.training_velocity(data.tokens, noisy, time, command)
        changed = data.tokens.clone()
        changed[:, -1] = (changed[:, -1] + 3) % 16
        after = model.training_velocity(changed, noisy, time, command)
    for draw in (0, 3):
        torch.testing.assert_close(before[:, draw : draw + 2], after[:, draw : draw + 2])
        assert not torch.allclose(before[:, draw + 2], after[:, draw + 2])


def test_the_video_model_learns_where_it_is_let() -> None:
    stage = ActionStage(tiny.SPEC, ActionOptions(detach_video=False, train_video=True, video_loss=0.5), 1)
    model = alive(stage)
    found = gradients(stage, model)
    assert any(n.startswith("video.blocks") for n in found)
    terms = stage.loss(model, batch(), generator(3), "model", 0)
    assert float(terms.total.detach()) == pytest.approx(float(terms.parts["flow"] + 0.5 * terms.parts["video"]), rel=1e-6)
    with pytest.raises(ConfigError, match="train_video needs detach_video: false"):
        ActionOptions(train_video=True)


def test_pictures_for_people() -> None:
    video = VideoStage(tiny.SPEC, VideoOptions(init_std=0.1), 1, tokenizer=tokenizer())
    [first, _] = video.pictures(video.build(CPU), batch(labelled=False), 0)
    assert first.rgb.shape == (4 * (32 + 18 + 4), 2 * 52 - 4, 3)  # given, came, likeliest, drawn: two frames at most
    action = ActionStage(tiny.SPEC, ActionOptions(pictures=2), 1, tokenizer=tokenizer())
    [plans] = action.pictures(action.build(CPU), batch(), 0)
    assert plans.rgb.shape[1] == 2 * 216
    partly = batch()
    assert partly.positions_m is not None
    positions = partly.positions_m.clone()
    positions[0] = float("nan")
    [others] = ActionStage(tiny.SPEC, ActionOptions(pictures=1), 1, tokenizer=tokenizer()).pictures(
        action.build(CPU), replace(partly, positions_m=positions), 0
    )
    green = (others.rgb == TRUTH).all(axis=-1)
    assert green.any(), "a window whose trajectory is known is shown first"
    assert not VideoStage(tiny.SPEC, VideoOptions(), 1).pictures(VideoNet(video.build(CPU).video), batch(), 0)


def test_embeddings_begin_where_the_codes_lie() -> None:
    vq = tokenizer()
    codes = torch.nn.functional.normalize(vq.quantize.embedding.weight.detach(), dim=1)
    wide = replace(tiny.SPEC, video=replace(tiny.SPEC.video, width=512, mup_base_width=512, attention_scale=8.0))
    built = [
        VideoStage(wide, VideoOptions(codebook_embedding=True), 1, tokenizer=vq).build(CPU).video,
        ActionStage(wide, ActionOptions(codebook_embedding=True), 1, tokenizer=vq).build(CPU).video,
    ]
    for video in built:
        found = video.token_embedding.weight.detach()
        assert float(found[:16].std()) == pytest.approx(0.0289, rel=0.15)
        alike = torch.nn.functional.normalize(found[:16], dim=1)
        torch.testing.assert_close(alike @ alike.T, 0.91 * codes @ codes.T + 0.09 * torch.eye(16), atol=0.15, rtol=0)
    with pytest.raises(ConfigError, match="the one that made the tokens"):
        VideoStage(tiny.SPEC, VideoOptions(codebook_embedding=True), 1).build(CPU)


def test_weights_and_data_that_do_not_fit() -> None:
    other = replace(tiny.SPEC, video=replace(tiny.SPEC.video, width=64))
    video = VideoStage(other, VideoOptions(), 1).build(CPU).video
    with pytest.raises(ConfigError, match="of another size"):
        ActionStage(tiny.SPEC, ActionOptions(), 1, video=video)
    stage = ActionStage(tiny.SPEC, ActionOptions(), 1)
    with pytest.raises(DataError, match="windows without trajectories"):
        stage.loss(stage.build(CPU), batch(labelled=False), generator(), "model", 0)


def test_operations_are_those_of_the_specification() -> None:
    v = tiny.SPEC.video
    n, d = v.frames * 6, v.width
    by_hand = v.layers * (2 * n * d * (3 * d + d + 8 * d) + 2 * n * n * d) + 2 * n * d * v.vocabulary
    assert video_forward_flops(v, v.frames) == pytest.approx(by_hand)
    assert action_forward_flops(tiny.SPEC, v.frames) > 0


def test_plans_that_are_unknown_do_not_count() -> None:
    stage = ActionStage(tiny.SPEC, ActionOptions(noise_draws=2), 1)
    model, data = alive(stage), batch()
    assert data.positions_m is not None
    gap = data.positions_m.clone()
    gap[1, 2, 3] = torch.nan
    lossy = stage.flow_loss(model, data.tokens, gap, data.command, generator(3))  # type: ignore[arg-type]
    lossy.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    other = data.positions_m.clone()
    other[1, 2] = 50.0  # whatever stands there
    whole = stage.flow_loss(model, data.tokens, other, data.command, generator(3))  # type: ignore[arg-type]
    assert float(lossy.detach()) < float(whole.detach())
    nothing = stage.flow_loss(model, data.tokens, torch.full_like(gap, torch.nan), data.command, generator(3))  # type: ignore[arg-type]
    assert float(nothing.detach()) == 0.0


def test_one_pass_over_the_video_serves_both_losses() -> None:
    stage = ActionStage(tiny.SPEC, ActionOptions(detach_video=False, train_video=True, video_loss=0.5), 1)
    model, data = alive(stage), batch()
    terms = stage.loss(model, data, generator(3), "model", 0)
    assert data.positions_m is not None
    assert data.command is not None
    flow = stage.flow_loss(model, data.tokens, data.positions_m, data.command, generator(3))
    video = next_token_loss(model.video(data.tokens), data.tokens)
    torch.testing.assert_close(terms.total, flow + 0.5 * video)
    with pytest.raises(ConfigError, match="video_loss needs train_video"):
        ActionOptions(video_loss=0.5)


def test_a_model_goes_on_with_windows_of_another_length_and_gives_on_short_ones_what_it_gave() -> None:
    stage = ActionStage(tiny.SPEC, ActionOptions(), 1)
    model, data = alive(stage), batch()
    frames = tiny.SPEC.video.frames
    longer = for_frames(model, frames + 2)
    assert isinstance(longer, VaVAM)
    assert longer.spec.video == replace(tiny.SPEC.video, frames=frames + 2)
    with torch.no_grad():
        torch.testing.assert_close(longer.video(data.tokens), model.video(data.tokens), rtol=0, atol=0)
        longer.video(torch.cat([data.tokens, data.tokens[:, :2]], dim=1))  # as many as it says it holds
    assert for_frames(model, frames) is model
    shorter = for_frames(model, frames - 1)
    assert isinstance(shorter, VaVAM)
    with torch.no_grad():
        torch.testing.assert_close(shorter.video(data.tokens[:, :-1]), model.video(data.tokens[:, :-1]), rtol=0, atol=0)
    with pytest.raises(ConfigError, match=f"expected 1 to {frames - 1}"):
        shorter.video(data.tokens)


def test_more_layers_change_nothing_until_they_learn() -> None:
    stage = ActionStage(tiny.SPEC, ActionOptions(detach_video=False, train_video=True, video_loss=0.5), 1)
    model, data = alive(stage), batch()
    layers = tiny.SPEC.video.layers
    deeper = for_layers(model, layers + 3)
    assert isinstance(deeper, VaVAM)
    assert deeper.spec == replace(tiny.SPEC, video=replace(tiny.SPEC.video, layers=layers + 3))
    noise = torch.randn((3, tiny.SPEC.action.horizon, 2), generator=generator(4))
    command = data.command
    assert command is not None
    with torch.no_grad():
        torch.testing.assert_close(deeper.video(data.tokens), model.video(data.tokens), rtol=0, atol=0)
        before, after = (m.sample(m.context(data.tokens[:1]), noise, command[0, -1:].expand(3)) for m in (model, deeper))
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    grown = ActionStage(deeper.spec, stage.options, 1, initial=deeper)
    found = gradients(grown, grown.build(CPU))
    new = sorted(set(range(layers + 3)) - set(places(layers, layers + 3)))
    assert len(new) == 3
    for i in new:
        for part in ("video", "action"):
            assert found[f"{part}.blocks.{i}.mlp.down.weight"].abs().max() > 0.0, "a new layer learns from the first step on"
    assert for_layers(model, layers) is model
    with pytest.raises(ConfigError, match=f"layers: got {layers - 1}, the weights to start with have {layers}"):
        for_layers(model, layers - 1)


def test_old_layers_are_spread_among_the_new_ones() -> None:
    assert places(6, 9) == (0, 1, 3, 4, 6, 7)
    assert places(6, 12) == (0, 2, 4, 6, 8, 10)
    assert places(4, 4) == (0, 1, 2, 3)
