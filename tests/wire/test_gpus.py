"""The answers of nvidia-smi and rocm-smi, in the forms that their documentation gives."""

from __future__ import annotations

from typing import Any

from sshpyk.wire import gpus

GIB = 1024**3

NVIDIA = """\
0, NVIDIA A100-SXM4-40GB, 35, 10240, 40960
1, Tesla K80, [Not Supported], [N/A], 11441
"""
NVIDIA_USES = """\
1234, 10000
1234, 240
5678, [Insufficient Permissions]
"""
ROCM: dict[str, Any] = {
    "card0": {
        "GPU use (%)": "7",
        "VRAM Total Memory (B)": str(16 * GIB),
        "VRAM Total Used Memory (B)": str(GIB),
        "Card series": "Vega 20",
        "Card model": "0x66a1",
    },
    "card1": {"Card Series": "Instinct MI250", "GPU use (%)": "N/A"},
    "system": {
        "PID4321": "python3, 1, 1029443584, 0, unknown",
        "PID99": "no more",
        "Driver version": "6.3.6",
    },
}


def test_nvidia() -> None:
    first, second = gpus.nvidia_gpus(NVIDIA)
    assert first == {
        "index": 0,
        "name": "NVIDIA A100-SXM4-40GB",
        "memory_used": 10 * GIB,
        "memory_total": 40 * GIB,
        "use": 0.35,
    }
    assert (second["use"], second["memory_used"]) == (None, None)
    assert gpus.nvidia_uses(NVIDIA_USES) == {1234: 10 * GIB}


def test_what_is_no_table() -> None:
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    assert gpus.nvidia_gpus(said) == []
    assert gpus.nvidia_uses("No running processes found\n") == {}
    assert gpus.rocm_gpus(["WARNING"]) == []
    assert gpus.rocm_uses(None) == {}


def test_rocm() -> None:
    first, second = gpus.rocm_gpus(ROCM)
    assert (first["index"], first["name"], first["use"]) == (0, "Vega 20", 0.07)
    assert (first["memory_used"], first["memory_total"]) == (GIB, 16 * GIB)
    assert (second["name"], second["use"], second["memory_used"]) == ("Instinct MI250", None, None)
    assert gpus.rocm_uses(ROCM) == {4321: 1029443584}
