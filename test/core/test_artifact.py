"""A model directory: what it holds, that it comes back the same, and that every way of spoiling it ends in its own error."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from vavam_ros.core.artifact import directory as artifacts
from vavam_ros.core.artifact import load_artifact, load_tokenizer, load_video_artifact, random_artifact, read_card, save_artifact, tokenizer_for
from vavam_ros.core.artifact.model_card import ModelCard, require_domain
from vavam_ros.core.artifact.tensor_files import _digest_by_blocks
from vavam_ros.core.camera import CANONICAL_CAMERAS
from vavam_ros.core.contracts import ArtifactError, ConfigError, DivisorError, DomainError, GoldenMismatchError
from vavam_ros.core.spec import SMALL, VAVAM_S, ActionSpec, ModelSpec, VideoSpec, with_name
from vavam_ros.core.tokenizer import VQ16_RELEASED, VQ16_SMALL

TINY = ModelSpec(
    name="tiny",
    video=VideoSpec(width=32, layers=2, head_size=16, vocabulary=65, frames=3, grid_h=2, grid_w=3, mup_base_width=16),
    action=ActionSpec(width=8, horizon=4, mup_base_width=4),
)

pytestmark = pytest.mark.usefixtures("nothing_without_a_device")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("artifact") / "tiny"
    random_artifact(directory, TINY, seed=3)
    return directory


@pytest.fixture
def directory(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def edit_card(directory: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    path = directory / "model.yaml"
    card = yaml.safe_load(path.read_text())
    change(card)
    path.write_text(yaml.safe_dump(card))


def edit_tensors(directory: Path, file: str, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    tensors = load_file(directory / file, device="cpu")
    change(tensors)
    save_file(tensors, directory / file)


def test_layout_and_content(original: Path) -> None:
    assert sorted(p.name for p in original.iterdir()) == ["golden.safetensors", "model.safetensors", "model.yaml", "tokenizer.safetensors"]
    card = yaml.safe_load((original / "model.yaml").read_text())
    assert card["schema_version"] == 1
    assert card["domain"] == "random"
    assert card["trained"] is False
    assert card["architecture"]["video"]["readout_divisor"] == 2.0
    assert card["architecture"]["action"]["readout_divisor"] == 2.0
    assert card["commands"] == {"map": {"right": 0, "left": 1, "straight": 2}, "rule": "reference"}
    assert card["camera"] == CANONICAL_CAMERAS["world_front"].to_dict()
    assert load_file(original / "golden.safetensors", device="cpu")["picture"].shape == (1, 32, 48, 3)  # one frame


def test_loaded_model_equals_the_saved_one(original: Path) -> None:
    loaded = load_artifact(original, "cpu")
    assert loaded.card == read_card(original)
    assert loaded.card.spec == loaded.model.spec == TINY
    assert loaded.tokenizer.tokenizer_id == loaded.card.tokenizer_id
    assert loaded.card.model_id.startswith("tiny-")
    assert not any(p.requires_grad or p.device.type != "cpu" for p in (*loaded.model.parameters(), *loaded.tokenizer.parameters()))
    assert not loaded.model.training
    for name, tensor in load_file(original / "model.safetensors", device="cpu").items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_a_cast_after_the_check(dtype: torch.dtype, original: Path) -> None:
    loaded = load_artifact(original, "cpu", dtype)
    assert {p.dtype for p in loaded.model.parameters()} == {dtype}
    assert loaded.tokenizer.dtype == dtype
    assert loaded.tokenizer.encoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert loaded.tokenizer.quantize.embedding.weight.dtype == torch.float32
    assert loaded.tokenizer.tokenizer_id == loaded.card.tokenizer_id


def test_tokenizer_alone(original: Path) -> None:
    assert load_tokenizer(original, "cpu").tokenizer_id == read_card(original).tokenizer_id


def test_random_artifacts_are_reproducible(original: Path, tmp_path: Path) -> None:
    again = random_artifact(tmp_path / "again", TINY, seed=3)
    other = random_artifact(tmp_path / "other", TINY, seed=4)
    for file in original.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name
    assert again.model_id == read_card(original).model_id
    assert other.model_id != again.model_id
    assert other.tokenizer_id != again.tokenizer_id


def test_random_weights_use_the_whole_model(original: Path) -> None:
    """Context and command change the plan, so that the recorded trajectory depends on both halves."""
    model = load_artifact(original, "cpu").model
    golden = load_file(original / "golden.safetensors", device="cpu")
    plans = []
    for tokens, command in ((golden["codes"], golden["command"]), ((golden["codes"] + 1) % 64, golden["command"]), (golden["codes"], golden["command"] * 0)):
        plans.append(model.sample(model.context(tokens.unsqueeze(1)), golden["noise"], command))
    assert (plans[0] - plans[1]).abs().max() > 0.1
    assert (plans[0] - plans[2]).abs().max() > 0.1


def test_tokenizer_sizes_follow_the_model() -> None:
    assert tokenizer_for(SMALL) == VQ16_SMALL
    assert tokenizer_for(VAVAM_S) == VQ16_RELEASED


# ---- ways to spoil a directory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["model.yaml", "model.safetensors", "tokenizer.safetensors", "golden.safetensors"])
def test_missing_file(file: str, directory: Path) -> None:
    (directory / file).unlink()
    with pytest.raises(ArtifactError, match=f"{file} is missing"):
        load_artifact(directory, "cpu")


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.safetensors", "golden.safetensors"])
def test_truncated_file(file: str, directory: Path) -> None:
    content = (directory / file).read_bytes()
    (directory / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=f"{file}.*truncated"):
        load_artifact(directory, "cpu")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(lambda c: c.update(schema_version=2), ArtifactError, "schema_version: got 2, expected 1.*convert it again", id="newer schema"),
        pytest.param(lambda c: c.pop("schema_version"), ArtifactError, "got none, expected 1", id="no schema"),
        pytest.param(
            lambda c: c["architecture"]["video"].update(readout_divisor=1.0), DivisorError, "video.readout_divisor: got 1.0", id="video divisor edited"
        ),
        pytest.param(
            lambda c: c["architecture"]["action"].update(readout_divisor=3.0), DivisorError, "action.readout_divisor: got 3.0", id="action divisor edited"
        ),
        pytest.param(lambda c: c["architecture"]["action"].pop("readout_divisor"), DivisorError, "readout_divisor is missing", id="divisor dropped"),
        pytest.param(
            lambda c: c["architecture"]["video"].update(readout_divisor=1.0, mup_base_width=32), ArtifactError, "was changed since", id="base edited too"
        ),
        pytest.param(lambda c: c["architecture"]["flow"].update(action_scale_m=7.0), ArtifactError, "was changed since", id="scale edited"),
        pytest.param(lambda c: c.update(trained=True, domain="real"), ArtifactError, "was changed since", id="labelled as trained"),
        pytest.param(lambda c: c.update(trained="yes"), ArtifactError, "boolean", id="trained is a word"),
        pytest.param(lambda c: c["architecture"]["video"].update(layers="two"), ArtifactError, "model.yaml", id="word for a number"),
        pytest.param(lambda c: c.update(colour="red"), ArtifactError, r"unknown keys \['colour'\]", id="unknown key"),
        pytest.param(lambda c: c["camera"].pop("fx"), ArtifactError, "fx", id="camera without focal length"),
        pytest.param(lambda c: c["commands"]["map"].update(left=0), ArtifactError, "command map", id="two commands with one number"),
        pytest.param(lambda c: c.update(domain="moon"), ArtifactError, "moon", id="unknown domain"),
        pytest.param(lambda c: c["tokenizer"].update(image_hw=[64, 64]), ArtifactError, "grid", id="tokenizer of another grid"),
        pytest.param(lambda c: c["tokenizer"].update(codebook_size=4096), ArtifactError, "vocabulary", id="more codes than words"),
    ],
)
def test_edited_card(change: Callable[[dict], None], error: type[ArtifactError], message: str, directory: Path) -> None:  # type: ignore[type-arg]
    edit_card(directory, change)
    with pytest.raises(error, match=message):
        load_artifact(directory, "cpu")


def test_a_card_that_is_not_yaml(directory: Path) -> None:
    (directory / "model.yaml").write_text("a: [1,")
    with pytest.raises(ArtifactError, match="not readable YAML"):
        load_artifact(directory, "cpu")


def test_texts_may_be_edited(directory: Path) -> None:
    edit_card(directory, lambda c: c.update(licence="CC-BY-4.0", notes="measured on a wet road"))
    assert load_artifact(directory, "cpu").card.licence == "CC-BY-4.0"


READOUT = "action.readout.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda t: t.update({READOUT: t[READOUT].double()}), "float32.*action.readout.weight: got torch.float64", id="dtype"),
        pytest.param(lambda t: t.update({READOUT: t[READOUT][:, :4].contiguous()}), r"got \(2, 4\), expected \(2, 8\)", id="shape"),
        pytest.param(lambda t: t.pop(READOUT), r"1 tensors missing \(action.readout.weight\), 0 unexpected", id="missing"),
        pytest.param(lambda t: t.update(extra=t[READOUT].clone()), r"0 tensors missing \(\), 1 unexpected \(extra\)", id="unexpected"),
        pytest.param(lambda t: t[READOUT].fill_(float("nan")), "NaN or infinity in 1 tensors", id="NaN"),
        pytest.param(lambda t: t[READOUT].mul_(1.5), "was changed since", id="values"),
    ],
)
def test_edited_weights(change: Callable[[dict], None], message: str, directory: Path) -> None:  # type: ignore[type-arg]
    edit_tensors(directory, "model.safetensors", change)
    with pytest.raises(ArtifactError, match=message):
        load_artifact(directory, "cpu")


def test_swapped_tokenizer(directory: Path, tmp_path: Path) -> None:
    random_artifact(tmp_path / "other", TINY, seed=9)
    shutil.copy(tmp_path / "other" / "tokenizer.safetensors", directory)
    with pytest.raises(ArtifactError, match="put that tokenizer back"):
        load_artifact(directory, "cpu")
    with pytest.raises(ArtifactError, match="put that tokenizer back"):
        load_tokenizer(directory, "cpu")


@pytest.mark.parametrize("name", ["trajectory", "logits", "codes"])
def test_another_golden_output(name: str, directory: Path) -> None:
    edit_tensors(directory, "golden.safetensors", lambda t: t.update({name: (t[name] + 1) % 64 if name == "codes" else t[name] * 1.01}))
    with pytest.raises(GoldenMismatchError, match="tokens of the recorded picture" if name == "codes" else name):
        load_artifact(directory, "cpu")
    load_artifact(directory, "cpu", check_golden=False)


def test_a_golden_output_that_lacks_a_part(directory: Path) -> None:
    edit_tensors(directory, "golden.safetensors", lambda t: t.pop("trajectory"))
    with pytest.raises(ArtifactError, match=r"golden\.safetensors: got the tensors .*, expected .*'trajectory'"):
        load_artifact(directory, "cpu")


@pytest.mark.parametrize(("name", "message"), [("codes", r"gives \(1, 2, 3\) tokens, recorded were \(1, 1, 3\)"), ("logits", "logits has the shape")])
def test_a_golden_output_of_another_shape(name: str, message: str, directory: Path) -> None:
    edit_tensors(directory, "golden.safetensors", lambda t: t.update({name: t[name][:, :1].contiguous() if name == "codes" else t[name][:-1].contiguous()}))
    with pytest.raises(GoldenMismatchError, match=message):
        load_artifact(directory, "cpu")


def test_a_model_that_overflows_is_not_written(directory: Path, tmp_path: Path) -> None:
    """Finite weights whose output is not: nothing on disk could be checked against it."""
    loaded = load_artifact(directory, "cpu")
    with torch.no_grad():
        loaded.model.action.readout.weight.fill_(3e38)
    with pytest.raises(GoldenMismatchError, match=r"not finite \(trajectory\)"):
        save_artifact(tmp_path / "out", loaded.card, loaded.model, loaded.tokenizer)
    assert not (tmp_path / "out").exists()


def test_the_digest_of_a_large_file_is_the_same_by_blocks(tmp_path: Path) -> None:
    """Python 3.10 has no hashlib.file_digest."""
    file = tmp_path / "large"
    file.write_bytes(bytes(range(256)) * 5000)  # more than one block
    assert _digest_by_blocks(file) == artifacts.file_digest(file) == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("field", ["domain", "kind", "command_rule"])
def test_a_card_knows_its_words(field: str, directory: Path) -> None:
    with pytest.raises(ConfigError, match="got 'elsewhere', expected one of"):
        replace(read_card(directory), **{field: "elsewhere"})  # type: ignore[arg-type]


@pytest.mark.parametrize("half", ["video", "action"])
def test_a_wrong_divisor_in_the_code_fails_the_golden_output(half: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file says is right, what is computed is not: the case that no check of the files can see."""
    spec_type = VideoSpec if half == "video" else ActionSpec
    card, digest = read_card(directory), artifacts.file_digest(directory / "model.safetensors")
    monkeypatch.setattr(spec_type, "readout_divisor", property(lambda self: 1.0))
    monkeypatch.setattr(artifacts, "read_card", lambda _: replace(card, model_id=card.identified(card.tokenizer_id, digest).model_id))
    with pytest.raises(GoldenMismatchError, match="logits" if half == "video" else "trajectory"):
        load_artifact(directory, "cpu")


# ---- writing -----------------------------------------------------------------------------------------------------------------------------


def test_upstream_usage_buffer_is_accepted_and_dropped(directory: Path) -> None:
    edit_tensors(directory, "tokenizer.safetensors", lambda t: t.update({"quantize.codebook_used": torch.zeros(8, device="cpu")}))
    assert load_tokenizer(directory, "cpu").tokenizer_id == read_card(directory).tokenizer_id


def test_a_failed_write_leaves_the_old_model(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_artifact(directory, "cpu")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts, "write_card", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_artifact(directory, loaded.card, loaded.model, loaded.tokenizer)
    assert [p.name for p in directory.parent.iterdir()] == ["model"]
    assert load_artifact(directory, "cpu").card == loaded.card


def test_a_model_directory_is_replaced_whole(directory: Path) -> None:
    (directory / "left-over.txt").write_text("old")
    card = random_artifact(directory, TINY, seed=5)
    assert read_card(directory).model_id == card.model_id
    assert not (directory / "left-over.txt").exists()


def test_other_directories_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("\\section{}")
    with pytest.raises(ArtifactError, match="not a model directory"):
        random_artifact(tmp_path, TINY)
    assert (tmp_path / "thesis.tex").exists()


def test_weights_that_were_rounded_take_half_the_space(directory: Path, tmp_path: Path) -> None:
    loaded = load_artifact(directory, device="cpu")
    with pytest.raises(ConfigError, match="weights that were rounded to it"):
        save_artifact(tmp_path / "half", loaded.card, loaded.model, loaded.tokenizer, stored=torch.float16)
    for p in loaded.model.parameters():
        p.data = p.data.half().float()
    save_artifact(tmp_path / "whole", loaded.card, loaded.model, loaded.tokenizer)
    card = save_artifact(tmp_path / "half", loaded.card, loaded.model, loaded.tokenizer, stored=torch.float16)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    again = load_artifact(tmp_path / "half", device="cpu")
    assert again.card == card
    for a, b in zip(again.model.parameters(), loaded.model.parameters(), strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)


def test_a_card_tells_how_the_model_was_trained(directory: Path, tmp_path: Path) -> None:
    loaded = load_artifact(directory, device="cpu")
    assert loaded.card.training is None
    told = replace(loaded.card, training={"stages": [{"name": "action", "steps": 3}], "revision": "abc"})
    card = save_artifact(tmp_path / "told", told, loaded.model, loaded.tokenizer)
    assert read_card(tmp_path / "told").training == told.training
    assert card.model_id == loaded.card.model_id  # it is the same model
    path = tmp_path / "told" / "model.yaml"
    path.write_text(path.read_text().split("training:")[0] + "training: long\n")
    with pytest.raises(ArtifactError, match="section training"):
        read_card(tmp_path / "told")


def test_a_card_of_another_model_is_refused(directory: Path, tmp_path: Path) -> None:
    loaded = load_artifact(directory, "cpu")
    with pytest.raises(ConfigError, match="another model"):
        save_artifact(tmp_path / "out", replace(loaded.card, spec=with_name(TINY, "else")), loaded.model, loaded.tokenizer)
    with pytest.raises(ArtifactError, match="float32"):
        save_artifact(tmp_path / "out", loaded.card, loaded.model.to(torch.bfloat16), loaded.tokenizer)


def test_a_video_model_alone_cannot_plan(directory: Path, tmp_path: Path) -> None:
    loaded = load_artifact(directory, "cpu")
    card = save_artifact(tmp_path / "video", replace(loaded.card, kind="vavim"), loaded.model.video, loaded.tokenizer)
    assert card.model_id != loaded.card.model_id
    with pytest.raises(ArtifactError, match="without an action expert"):
        load_artifact(tmp_path / "video", "cpu")
    video = load_video_artifact(tmp_path / "video", "cpu", torch.bfloat16)
    assert video.card.kind == "vavim"
    assert {p.dtype for p in video.video.parameters()} == {torch.bfloat16}
    assert torch.equal(load_video_artifact(directory, "cpu").video.token_embedding.weight, loaded.model.video.token_embedding.weight)


# ---- domain ------------------------------------------------------------------------------------------------------------------------------


def card(domain: str, trained: bool) -> ModelCard:
    return ModelCard(
        spec=TINY,
        tokenizer=tokenizer_for(TINY),
        canonical_camera=CANONICAL_CAMERAS["nuscenes_cam_front"].to_dict(),
        domain=domain,  # type: ignore[arg-type]
        trained=trained,
        licence="x",
    )


@pytest.mark.parametrize(
    ("domain", "trained", "untrained_ok", "synthetic_ok", "refused"),
    [
        ("real", True, False, False, None),
        ("real", False, False, True, "untrained"),
        ("real", False, True, False, None),
        ("random", True, False, True, "untrained"),
        ("random", False, True, False, None),
        ("synthetic_world", True, True, False, "synthetic"),
        ("synthetic_world", True, False, True, None),
        ("synthetic_world", False, False, True, "untrained"),
        ("synthetic_world", False, True, False, "synthetic"),
    ],
)
def test_domain_is_required(domain: str, trained: bool, untrained_ok: bool, synthetic_ok: bool, refused: str | None) -> None:
    if refused is None:
        require_domain(card(domain, trained), allow_untrained=untrained_ok, allow_synthetic=synthetic_ok)
        return
    with pytest.raises(DomainError, match=refused):
        require_domain(card(domain, trained), allow_untrained=untrained_ok, allow_synthetic=synthetic_ok)
