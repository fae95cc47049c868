"""Peak dense compute and power of accelerators, from their makers' data sheets.

Headlines often count the zeros of structured sparsity, twice the dense figure; training of dense models reaches none of
that. Utilisation is a share of the dense peak.
"""

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class Accelerator:
    """One accelerator.

    Parameters
    ----------
    name : str
    peak : dict
        Peak dense compute by precision [FLOP/s].
    watts : float
        Power of the accelerator alone [W]: the limit that its maker states.
    source : str
    sparse : bool
        Whether its maker also states figures with structured sparsity, twice the dense ones.
    """

    name: str
    peak: dict[str, float]
    watts: float
    source: str
    sparse: bool = True


#: By name. A figure "with sparsity" of the data sheet is halved here.
ACCELERATORS: dict[str, Accelerator] = {
    each.name: each
    for each in (
        Accelerator(
            "V100-SXM2", {"fp16": 125e12}, 300, "NVIDIA V100 data sheet, 2020", sparse=False
        ),
        Accelerator("A100-SXM", {"bf16": 312e12}, 400, "NVIDIA A100 80GB data sheet, 2021"),
        Accelerator("A100-PCIe", {"bf16": 312e12}, 300, "NVIDIA A100 80GB data sheet, 2021"),
        Accelerator(
            "H100-SXM",
            {"bf16": 989.4e12, "fp8": 1978.9e12},
            700,
            "NVIDIA H100 data sheet and Hopper architecture white paper, 2022",
        ),
        Accelerator(
            "H100-PCIe",
            {"bf16": 756e12, "fp8": 1513e12},
            350,
            "NVIDIA H100 PCIe product brief, 2022",
        ),
        Accelerator(
            "H200-SXM", {"bf16": 989.4e12, "fp8": 1978.9e12}, 700, "NVIDIA H200 data sheet, 2024"
        ),
        Accelerator(
            "B200", {"bf16": 2250e12, "fp8": 4500e12}, 1000, "NVIDIA HGX B200 data sheet, 2024"
        ),
        Accelerator(
            "MI250X", {"bf16": 383e12}, 560, "AMD Instinct MI250X data sheet, 2021", sparse=False
        ),
        Accelerator(
            "MI300X",
            {"bf16": 1307.4e12, "fp8": 2614.9e12},
            750,
            "AMD Instinct MI300X data sheet, 2023",
        ),
        Accelerator(
            "TPU-v4",
            {"bf16": 275e12},
            192,
            "Jouppi et al. 2023, arXiv 2304.01433, table 4",
            sparse=False,
        ),
    )
}


def find_accelerator(name: str) -> Accelerator:
    """An accelerator by its name; case, spaces and dashes do not matter.

    Raises
    ------
    ValueError
        If it is not in the table.

    Examples
    --------
    >>> find_accelerator("h100 sxm").peak["bf16"]
    989400000000000.0
    """
    plain = {_plain(each): each for each in ACCELERATORS}
    if _plain(name) in plain:
        return ACCELERATORS[plain[_plain(name)]]
    near = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.5)
    hint = f"did you mean {plain[near[0]]!r}? " if near else ""
    raise ValueError(
        f"unknown accelerator {name!r}; {hint}Known: {', '.join(ACCELERATORS)}. For another, give peak_flops (dense) "
        "and power"
    )


def check_dense(accelerator: Accelerator, precision: str, peak: float) -> None:
    """Raise ValueError where a peak is more than an accelerator does on dense matrices.

    Examples
    --------
    >>> check_dense(find_accelerator("H100-SXM"), "bf16", 1979e12)
    Traceback (most recent call last):
    ValueError: peak_flops = 1.979e+15 is above the dense bf16 peak of H100-SXM, 9.894e+14: it looks like the headline \
with structured sparsity; give the dense figure
    """
    dense = accelerator.peak[precision]
    if peak <= 1.02 * dense:
        return
    looks = accelerator.sparse and abs(peak / (2 * dense) - 1) < 0.03
    why = ": it looks like the headline with structured sparsity" if looks else ""
    raise ValueError(
        f"peak_flops = {peak:.4g} is above the dense {precision} peak of {accelerator.name}, {dense:.4g}{why}; give "
        "the dense figure"
    )


def _plain(name: str) -> str:
    return "".join(each for each in name.lower() if each.isalnum())
