"""What training costs: FLOP of a run of given parameters and tokens.

``C = 6 * N * D``: two FLOP a parameter and token forwards (a multiplication and an addition), twice that backwards.
Attention over the context, a few per cent at usual lengths, is left out. Kaplan et al. 2020 (arXiv 2001.08361),
section 2.1, where N counts no embeddings.

Every function takes plain numbers, NumPy arrays and xarray objects alike.
"""

import numpy as np
import xarray as xr

#: Training FLOP for each parameter and token.
FLOP_PER_PARAM_TOKEN = 6.0


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
