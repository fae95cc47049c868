"""The drift integrated out: what the likelihood needs, and what is drawn and scored once the law is known."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Marginal:
    """What the likelihood needs once the drift's weights are integrated out.

    With Gaussian noise of variance ``sigma^2 / weights`` the covariance of the scaled log losses
    ``sqrt(weights) * y`` is ``sigma^2 I + kappa^2 U diag(spectrum) U'``: its determinant and inverse cost no more
    than the product with ``U``. Where ``sigma`` differs from run to run, in a way that is itself learned, no fixed
    ``U`` does that; a Cholesky factor of the few modes takes its place.

    Parameters
    ----------
    design : numpy.ndarray
        From :func:`design`, dims (run, mode).
    root : numpy.ndarray
        Square root of each run's weight, dims (run,).
    left : numpy.ndarray
        U, orthonormal columns or zero, dims (run, mode).
    spectrum : numpy.ndarray
        Dims (mode,).
    right : numpy.ndarray
        Turns weights of the eigenvectors into weights of :func:`design`'s columns, dims (mode, mode).
    """

    design: np.ndarray
    root: np.ndarray
    left: np.ndarray
    spectrum: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray, weights: np.ndarray) -> "Marginal":
        """Decompose a :func:`design` matrix, given the runs' weights."""
        root = np.sqrt(weights)
        # With fewer runs than modes, the modes that no run sees are kept too: they stay as the prior has them.
        few = matrix.shape[0] < matrix.shape[1]
        left, singular, right = np.linalg.svd(root[:, None] * matrix, full_matrices=few)
        missing = matrix.shape[1] - singular.size
        return cls(
            matrix,
            root,
            np.pad(left, ((0, 0), (0, missing))),
            np.pad(singular**2, (0, missing)),
            right.T,
        )

    def draw_weights(
        self, residual: np.ndarray, sigma: np.ndarray, kappa: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw the drift's weights given the law, dims (sample, mode).

        Parameters
        ----------
        residual : numpy.ndarray
            Log loss less the law's, dims (sample, run).
        sigma : numpy.ndarray
            Dims (sample,), or (sample, run) where it differs from run to run.
        kappa : numpy.ndarray
            Dims (sample,).
        rng : numpy.random.Generator
        """
        if sigma.ndim > 1:
            return np.concatenate(
                [
                    self._draw_uneven(residual[part], sigma[part], kappa[part], rng)
                    for part in _parts(len(kappa))
                ]
            )
        projected = (residual * self.root) @ self.left
        signal = kappa[:, None] * np.sqrt(self.spectrum)
        total = sigma[:, None] ** 2 + signal**2
        mean = signal * projected / total
        weights = mean + sigma[:, None] / np.sqrt(total) * rng.standard_normal(mean.shape)
        return weights @ self.right.T

    def log_leave_one_out(
        self, residual: np.ndarray, sigma: np.ndarray, kappa: np.ndarray
    ) -> np.ndarray:
        """Log density of each log loss given all others and the law, dims (sample, run).

        Buerkner, Gabry, Vehtari 2021 (arXiv 1810.10559), equations 9 to 11. Parameters as for :meth:`draw_weights`.
        """
        if sigma.ndim > 1:
            return np.concatenate(
                [
                    self._leave_one_out_uneven(residual[part], sigma[part], kappa[part])
                    for part in _parts(len(kappa))
                ]
            )
        scaled = residual * self.root
        gain = kappa[:, None] ** 2 * self.spectrum
        shrink = gain / (sigma[:, None] ** 2 + gain)
        precision = (1 - shrink @ (self.left.T**2)) / sigma[:, None] ** 2
        solved = (scaled - (scaled @ self.left * shrink) @ self.left.T) / sigma[:, None] ** 2
        error = solved / precision
        return -0.5 * (np.log(2 * np.pi) - np.log(precision) + error**2 * precision) + np.log(
            self.root
        )

    def _factor(
        self, sigma: np.ndarray, kappa: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision of the noise (sample, run), design times kappa (sample, run, mode), and the factor of the modes."""
        precision = (self.root / sigma) ** 2
        scaled = kappa[:, None, None] * self.design
        inner = scaled.transpose(0, 2, 1) @ (precision[..., None] * scaled)
        return precision, scaled, np.linalg.cholesky(inner + np.eye(inner.shape[-1]))

    def _draw_uneven(
        self, residual: np.ndarray, sigma: np.ndarray, kappa: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        precision, scaled, factor = self._factor(sigma, kappa)
        projected = scaled.transpose(0, 2, 1) @ (precision * residual)[..., None]
        noise = rng.standard_normal(projected.shape)
        half = np.linalg.solve(factor, projected) + noise
        return np.asarray(np.linalg.solve(factor.transpose(0, 2, 1), half)[..., 0])

    def _leave_one_out_uneven(
        self, residual: np.ndarray, sigma: np.ndarray, kappa: np.ndarray
    ) -> np.ndarray:
        precision, scaled, factor = self._factor(sigma, kappa)
        half = np.linalg.solve(factor, (precision[..., None] * scaled).transpose(0, 2, 1))
        explained = (half.transpose(0, 2, 1) @ (half @ residual[..., None]))[..., 0]
        solved = precision * residual - explained
        own = precision - (half**2).sum(axis=1)
        error = solved / own
        return np.asarray(-0.5 * (np.log(2 * np.pi) - np.log(own) + error**2 * own))


def _parts(samples: int, size: int = 250) -> list[slice]:
    """Slices of samples that keep arrays of (sample, run, mode) small."""
    return [slice(start, start + size) for start in range(0, samples, size)]
