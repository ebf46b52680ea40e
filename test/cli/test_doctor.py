"""`vavam doctor`: each failure is recognised and comes with its remedy. The real checks run once, on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from vavam_ros.cli import doctor
from vavam_ros.cli.doctor import ChildResult, Finding, State

MB = 1 << 20


def child(returncode: int = 0, out: str = "", err: str = "") -> doctor.Child:
    """A child process that ends as told."""
    return lambda _code: ChildResult(returncode=returncode, out=out, err=err)


@pytest.mark.parametrize(("version", "state"), [((3, 9, 18), State.FAILED), ((3, 10, 0), State.OK), ((3, 12, 9), State.OK), ((3, 13, 0), State.FAILED)])
def test_python_range(version: tuple[int, ...], state: State) -> None:
    assert doctor.check_python(version).state is state


def test_missing_middleware_is_told_from_missing_rclpy() -> None:
    no_rclpy = doctor.check_rclpy(child(1, err="ModuleNotFoundError: No module named 'rclpy'"))
    no_rmw = doctor.check_rclpy(child(1, err="ImportError: librmw_fastrtps_cpp.so: cannot open shared object file"))
    assert "source /opt/ros" in no_rclpy.remedy
    assert "rmw-fastrtps-cpp" in no_rmw.remedy
    assert (no_rclpy.state, no_rmw.state) == (State.FAILED, State.FAILED)


def test_another_middleware_is_a_warning() -> None:
    assert doctor.check_rmw(child(out="rmw_cyclonedds_cpp")).state is State.WARNING
    assert doctor.check_rmw(child(out="rmw_fastrtps_cpp")).state is State.OK


def test_cv_bridge_that_aborts_is_the_numpy_clash() -> None:
    """A NumPy ABI clash can end the process by a signal, without any Python error."""
    finding = doctor.check_cv_bridge(child(-11))
    assert finding.state is State.FAILED
    assert "signal 11" in finding.text
    assert "numpy<2" in finding.remedy


def test_cv_bridge_compiled_for_numpy_1() -> None:
    finding = doctor.check_cv_bridge(
        child(1, err="A module that was compiled using NumPy 1.x cannot be run in\nImportError: numpy.core.multiarray failed to import")
    )
    assert "numpy<2" in finding.remedy


def test_an_abort_of_a_child_is_seen() -> None:
    assert doctor.run_child("import os; os.abort()").returncode == -6


@pytest.mark.parametrize(("out", "state"), [("2.13.0+cpu", State.OK), ("2.6.0", State.OK), ("2.5.1+cu124", State.FAILED), ("1.13.1", State.FAILED)])
def test_torch_range(out: str, state: State) -> None:
    assert doctor.check_torch(child(out=out)).state is state


def test_torch_for_another_numpy() -> None:
    assert "numpy<2" in doctor.check_torch(child(1, err="RuntimeError: Numpy is not available")).remedy


def test_missing_gpu_is_a_warning_unless_required() -> None:
    cpu_build = child(out="None")
    assert doctor.check_cuda(cpu_build).state is State.WARNING
    assert doctor.check_cuda(cpu_build, required=True).state is State.FAILED
    assert "torch is missing" in doctor.check_cuda(child(1, err="ModuleNotFoundError: No module named 'torch'")).text
    no_device = doctor.check_cuda(child(out="13.0"))
    assert "built for CUDA 13.0" in no_device.text
    assert doctor.check_cuda(child(out="13.0\nSome GPU 24 GiB"), required=True).state is State.OK


def test_profile_not_set_says_what_to_export() -> None:
    finding = doctor.check_profile({}, free_shm_bytes=4096 * MB)
    assert finding.state is State.WARNING
    for variable in doctor.PROFILE_VARIABLES:
        assert f"export {variable}=" in finding.remedy


def test_only_one_of_the_two_variables_is_not_enough() -> None:
    one = {"FASTDDS_DEFAULT_PROFILES_FILE": str(doctor.profile_path())}
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" in doctor.check_profile(one, free_shm_bytes=4096 * MB).text


def _profile_env(path: Path) -> dict[str, str]:
    return dict.fromkeys(doctor.PROFILE_VARIABLES, str(path))


def test_the_shipped_profile_passes() -> None:
    assert doctor.check_profile(_profile_env(doctor.profile_path()), free_shm_bytes=4096 * MB).state is State.OK


def test_little_shared_memory_is_seen() -> None:
    finding = doctor.check_profile(_profile_env(doctor.profile_path()), free_shm_bytes=64 * MB)
    assert finding.state is State.WARNING
    assert "--shm-size" in finding.remedy


@pytest.mark.parametrize("text", ["<profiles><segment_size>524288</segment_size></profiles>", "<profiles/>", "no xml"])
def test_profile_that_is_no_use(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.xml").write_text(text)
    assert doctor.check_profile(_profile_env(tmp_path / "p.xml"), free_shm_bytes=4096 * MB).state is State.WARNING


def test_profile_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in doctor.check_profile(_profile_env(tmp_path / "none.xml"), free_shm_bytes=4096 * MB).text


def test_messages_that_were_not_built() -> None:
    finding = doctor.check_interfaces(child(1, err="ModuleNotFoundError: No module named 'vavam_ros.msg'"))
    assert "colcon build" in finding.remedy
    assert "make setup" in finding.remedy


def test_model_directory_that_is_not_there(tmp_path: Path) -> None:
    finding = doctor.check_model(tmp_path / "none")
    assert finding.state is State.FAILED
    assert "vavam convert" in finding.remedy


def test_exit_status_counts_failures_not_warnings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    warning = Finding(check="a", state=State.WARNING, text="half", remedy="do this\nand that")
    failed = Finding(check="b", state=State.FAILED, text="broken", remedy="mend it")
    args = argparse.Namespace()
    monkeypatch.setattr(doctor, "findings", lambda _: iter([warning]))
    assert doctor.run(args) == 0
    monkeypatch.setattr(doctor, "findings", lambda _: iter([warning, failed]))
    assert doctor.run(args) == 1
    out = capsys.readouterr().out
    assert "FAIL  b: broken\n      → mend it\n" in out
    assert "      → do this\n      → and that\n" in out


@pytest.mark.ros
def test_this_machine_passes() -> None:
    pytest.importorskip("rclpy")
    results = [doctor.check_rclpy(), doctor.check_rmw(), doctor.check_interfaces(), doctor.check_cv_bridge(), doctor.check_torch()]
    assert [r for r in results if r.state is not State.OK] == []
