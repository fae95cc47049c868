"""What models cost: FLOP of training and of inference, accelerator-hours, energy, carbon.

``C = 6 * N * D``: two FLOP a parameter and token forwards (a multiplication and an addition), twice that backwards.
Attention over the context, a few per cent at usual lengths, is left out. Kaplan et al. 2020 (arXiv 2001.08361),
section 2.1, where N counts no embeddings.

Every function takes plain numbers, NumPy arrays and xarray objects alike.
"""

import numpy as np
import xarray as xr

#: Training FLOP for each parameter and token.
FLOP_PER_PARAM_TOKEN = 6.0
#: Inference FLOP for each parameter and token, read or written: the forward pass alone.
FLOP_PER_PARAM_TOKEN_INFERENCE = 2.0
_SECONDS, _JOULE_PER_KWH = 3600.0, 3.6e6
#: Units of a large number, as people write it.
LETTERS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def training_flops[Size: (float, np.ndarray, xr.DataArray)](
    params: Size, tokens: Size | float
) -> Size:
    """Training compute of a run.

    Parameters
    ----------
    params : array-like
        Model parameters.
    tokens : array-like
        Training tokens, repeats counted.

    Returns
    -------
    array-like
        Training compute [FLOP].

    References
    ----------
    Kaplan et al. 2020, arXiv 2001.08361, section 2.1.

    Examples
    --------
    >>> training_flops(70e9, 1.4e12)
    5.88e+23
    """
    return FLOP_PER_PARAM_TOKEN * params * tokens


def tokens_for[Size: (float, np.ndarray, xr.DataArray)](flops: Size, params: Size | float) -> Size:
    """Training tokens that a budget buys at a model size.

    Parameters
    ----------
    flops : array-like
        Training compute [FLOP].
    params : array-like
        Model parameters.

    Returns
    -------
    array-like
        Training tokens.

    Examples
    --------
    >>> tokens_for(6e21, 1e9)
    1000000000000.0
    """
    return flops / (FLOP_PER_PARAM_TOKEN * params)


def params_for[Size: (float, np.ndarray, xr.DataArray)](flops: Size, tokens: Size | float) -> Size:
    """Model parameters that a budget trains on a number of tokens.

    Parameters
    ----------
    flops : array-like
        Training compute [FLOP].
    tokens : array-like
        Training tokens, repeats counted.

    Returns
    -------
    array-like
        Model parameters.

    Examples
    --------
    >>> params_for(6e21, 1e12)
    1000000000.0
    """
    return flops / (FLOP_PER_PARAM_TOKEN * tokens)


def params_at_ratio[Size: (float, np.ndarray, xr.DataArray)](
    flops: Size, tokens_per_param: Size | float
) -> Size:
    """Model parameters that a budget trains at a number of tokens for each parameter.

    Parameters
    ----------
    flops : array-like
        Training compute [FLOP].
    tokens_per_param : array-like
        Training tokens for each parameter.

    Returns
    -------
    array-like
        Model parameters.

    Examples
    --------
    >>> params_at_ratio(1.2e22, 20.0)
    10000000000.0
    """
    return params_for(flops, tokens_per_param) ** 0.5


def inference_flops[Size: (float, np.ndarray, xr.DataArray)](
    params: Size, tokens: Size | float
) -> Size:
    """Compute of serving a model.

    Parameters
    ----------
    params : array-like
        Model parameters.
    tokens : array-like
        Tokens read and written over the model's lifetime.

    Returns
    -------
    array-like
        Inference compute [FLOP].

    References
    ----------
    Sardana et al. 2024, arXiv 2401.00448, section 2.

    Examples
    --------
    >>> inference_flops(7e9, 1e12)
    1.4e+22
    """
    return FLOP_PER_PARAM_TOKEN_INFERENCE * params * tokens


def served_tokens[Size: (float, np.ndarray, xr.DataArray)](
    prompt: Size,
    generated: Size,
    *,
    training: float,
    prefill: float,
    decode: float,
) -> Size:
    """Tokens served that would cost as much money at training's utilisation as these do at their own.

    An accelerator-hour costs the same whatever it does, so that a token is the dearer the less of the peak its step
    reaches. Given to ``inference_tokens``, a lifetime's FLOP become money, counted in FLOP of training.

    Parameters
    ----------
    prompt, generated : array-like
        Tokens read and tokens written over the lifetime.
    training, prefill, decode : float
        Share of peak compute that training, reading and writing reach; in (0, 1].

    Returns
    -------
    array-like
        Tokens.

    References
    ----------
    Sardana et al. 2024, arXiv 2401.00448, equation 6.

    Examples
    --------
    >>> served_tokens(1e12, 1e11, training=0.5, prefill=0.5, decode=0.01)
    6000000000000.0
    """
    for name, share in (("training", training), ("prefill", prefill), ("decode", decode)):
        if not 0 < share <= 1:
            raise ValueError(f"{name} = {share!r}: expected a share of peak compute, in (0, 1]")
    return prompt * (training / prefill) + generated * (training / decode)


def accelerator_hours[Size: (float, np.ndarray, xr.DataArray)](
    flops: Size | float, peak: Size | float, utilisation: Size
) -> Size:
    """Time that compute takes on one accelerator.

    Parameters
    ----------
    flops : array-like
        Compute [FLOP].
    peak : array-like
        Peak dense compute of one accelerator [FLOP/s]: not the headline for sparse matrices.
    utilisation : array-like
        Share of the peak that is reached on the model's own FLOP (MFU).

    Returns
    -------
    array-like
        Accelerator-hours [h].

    Examples
    --------
    >>> round(accelerator_hours(1e24, 989.4e12, 0.4))
    701884
    """
    return flops / (peak * utilisation * _SECONDS)


def energy_kwh[Size: (float, np.ndarray, xr.DataArray)](
    hours: Size, watts: Size | float, pue: Size | float
) -> Size:
    """Energy drawn from the grid.

    Parameters
    ----------
    hours : array-like
        Accelerator-hours [h].
    watts : array-like
        Power of one accelerator, with its share of the host if that is known [W].
    pue : array-like
        Power usage effectiveness of the data centre: energy drawn for each unit that reaches the machines.

    Returns
    -------
    array-like
        Energy [kWh]; times the grid's intensity [kg CO2e/kWh] it is carbon.

    Examples
    --------
    >>> round(energy_kwh(1000.0, 700.0, 1.1))
    770
    """
    return hours * watts * pue * _SECONDS / _JOULE_PER_KWH


def as_money(amount: float, digits: int = 3) -> str:
    """Write an amount of money as people do.

    Parameters
    ----------
    amount : float
        In any currency.
    digits : int
        Significant digits.

    Returns
    -------
    str

    Examples
    --------
    >>> [as_money(each) for each in (1.973e6, -1.16e6, 999.9e3, 250.0, 1e-23, 3e16)]
    ['1.97M', '-1.16M', '1M', '250', '0', '3e+16']
    >>> as_money(112_400, digits=2)
    '110K'
    """
    if abs(amount) < 1e-6:
        return "0"
    rounded = float(f"{amount:.{digits}g}")
    for unit, letter in LETTERS:
        if unit <= abs(rounded) < 1e15:
            return f"{rounded / unit:g}{letter}"
    return f"{rounded:g}"
