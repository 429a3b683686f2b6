"""What the programs of GPUs' makers say: which there are, and who uses them. Pure.

A GPU is {"index", "name", "memory_used", "memory_total", "use"}: sizes in bytes, `use` the share of
time in which it was busy, None where it is not told. Uses are bytes by process.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    GPU = Dict[str, Any]

#: What nvidia-smi is asked (`nvidia-smi --help-query-gpu`, `--help-query-compute-apps`).
NVIDIA_GPUS = (
    "nvidia-smi",
    "--query-gpu=index,name,utilization.gpu,memory.used,memory.total",
    "--format=csv,noheader,nounits",
)
NVIDIA_USES = (
    "nvidia-smi",
    "--query-compute-apps=pid,used_gpu_memory",
    "--format=csv,noheader,nounits",
)

#: What rocm-smi is asked.
ROCM = (
    "rocm-smi",
    *("--showproductname", "--showuse", "--showmeminfo", "vram", "--showpids", "--json"),
)

_MIB = 1024 * 1024


def nvidia_gpus(csv: str) -> List[GPU]:
    """The GPUs in the answer to `NVIDIA_GPUS`."""
    found = []
    for line in csv.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 5 and fields[0].isdigit():
            index, name, use, used, total = fields
            found.append(
                {
                    "index": int(index),
                    "name": name,
                    "memory_used": _bytes(used),
                    "memory_total": _bytes(total),
                    "use": int(use) / 100 if use.isdigit() else None,
                }
            )
    return found


def nvidia_uses(csv: str) -> Dict[int, int]:
    """The uses in the answer to `NVIDIA_USES`. In a container the pids may be none of ours."""
    found: Dict[int, int] = {}
    for line in csv.splitlines():
        pid, _, used = line.partition(",")
        size = _bytes(used.strip())
        if pid.strip().isdigit() and size is not None:
            found[int(pid)] = found.get(int(pid), 0) + size  # a line for each GPU
    return found


def _bytes(mebibytes: str) -> Optional[int]:
    """A size; "[N/A]", "[Not Supported]" and the like are none."""
    return int(mebibytes) * _MIB if mebibytes.isdigit() else None


def rocm_gpus(answer: Any) -> List[GPU]:
    """The GPUs in the JSON that answers `ROCM`."""
    found = []
    for card, said in answer.items() if isinstance(answer, dict) else ():
        if card.startswith("card") and card[4:].isdigit() and isinstance(said, dict):
            fields = {str(name).lower(): str(value) for name, value in said.items()}
            use = fields.get("gpu use (%)", "")
            found.append(
                {
                    "index": int(card[4:]),
                    "name": fields.get("card series") or fields.get("card model") or "AMD",
                    "memory_used": _count(fields.get("vram total used memory (b)", "")),
                    "memory_total": _count(fields.get("vram total memory (b)", "")),
                    "use": int(use) / 100 if use.isdigit() else None,
                }
            )
    return found


def rocm_uses(answer: Any) -> Dict[int, int]:
    """The uses in the JSON that answers `ROCM`: "PID123": "NAME, GPUS, VRAM, SDMA, CU"."""
    system = answer.get("system") if isinstance(answer, dict) else None
    found = {}
    for key, value in system.items() if isinstance(system, dict) else ():
        fields = [field.strip() for field in str(value).split(",")]
        size = _count(fields[-3]) if len(fields) >= 5 else None
        if key.startswith("PID") and key[3:].isdigit() and size is not None:
            found[int(key[3:])] = size
    return found


def _count(text: str) -> Optional[int]:
    return int(text) if text.isdigit() else None
