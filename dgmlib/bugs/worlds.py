"""Wrong variants of `dgmlib.worlds` (chapter A)."""

import torch

from dgmlib.bugs import edit, f64, subject
from dgmlib.worlds import (
    Circle,
    DiscreteLaw,
    GaussianMixture,
    Grid2d,
    LinearGaussian,
    OrnsteinUhlenbeck,
    bars_and_stripes,
    condition,
    gaussian_product,
    time_reversal,
)

CHAPTER = "A"

_COV = f64([2.0, 0.6, -0.3], [0.6, 1.0, 0.4], [-0.3, 0.4, 1.5])
_MEAN = f64(1.0, -1.0, 0.5)

_LINEAR = LinearGaussian([[1.0, 0.2], [-0.5, 0.8], [0.3, 1.1]], [0.5, 0.0, -1.0], 0.6)
_X3 = f64([0.3, -1.0, 0.7], [1.5, 0.4, -0.2])


def _tweedie(mixture, x, alpha, sigma, weight, scale, noised=True):
    score = (mixture.noised(alpha, sigma) if noised else mixture).score(x)
    return (x + weight * score) / scale


def noised_log_prob(mixture, alpha, sigma, x):
    """Log density of alpha x_0 + sigma eps at `x`."""
    return mixture.noised(alpha, sigma).log_prob(x)


_MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [2.0, 0.0]], [[[0.5, 0.2], [0.2, 0.4]], [[0.3, 0.0], [0.0, 0.6]]])
_X2 = f64([0.3, -1.0], [1.5, 0.4], [-0.7, 0.9])

_GRID = Grid2d(6.0, 41)
_LIKELIHOOD = torch.distributions.Normal(_GRID.points @ _LINEAR.weight.T + _LINEAR.mean, 0.6)
_GRID_VALUES = _LIKELIHOOD.log_prob(_X3[:, None]).sum(-1)

_CHAIN = f64([0.5, 0.4, 0.1], [0.1, 0.6, 0.3], [0.4, 0.1, 0.5])

SUBJECTS = (
    subject(
        "gaussian-condition",
        condition,
        ((_MEAN, _COV, [2], f64(1.2)), (_MEAN, _COV, [2, 0], f64(1.2, -0.4))),
        {
            "condition-covariance-uncut": edit("schur_complement(cov, given)", "cov[keep][:, keep]"),
            "schur-sign": edit("schur_complement(cov, given)", "2 * cov[keep][:, keep] - schur_complement(cov, given)"),
            "condition-value-uncentred": edit("value - mean[given]", "value"),
        },
    ),
    subject(
        "gaussian-product",
        gaussian_product,
        ((_MEAN, _COV, -_MEAN, 0.5 * _COV + torch.eye(3, dtype=torch.float64)),),
        {
            "product-as-sum": edit("gain @ (mean_b - mean_a), cov_a - gain @ cov_a", "mean_b, cov_a + cov_b"),
            "product-scale-forgotten": edit("cov_a, overlap", "cov_a, torch.zeros_like(overlap)"),
        },
    ),
    subject(
        "linear-posterior",
        LinearGaussian.posterior,
        ((_LINEAR, _X3),),
        {
            "posterior-sigma-for-variance": edit(
                *("self.weight / self.noise_std**2", "self.weight / self.noise_std"),
                *("cov / self.noise_std**2", "cov / self.noise_std"),
            ),
            "posterior-prior-forgotten": edit("_eye(self.k, self.weight) + ", ""),
        },
    ),
    subject(
        "noised-mixture",
        noised_log_prob,
        ((_MIXTURE, 0.6, 0.7, _X2),),
        {
            "noised-means-unscaled": edit("alpha * self.means", "self.means"),
            "noised-alpha-for-square": edit("alpha**2", "alpha"),
            "noised-sigma-for-variance": edit("sigma**2", "sigma"),
        },
        of=GaussianMixture.noised,
    ),
    subject(
        "mixture-denoiser",
        GaussianMixture.denoiser,
        ((_MIXTURE, _X2, 0.6, 0.7),),
        {
            "tweedie-alpha-forgotten": lambda mixture, x, alpha, sigma: _tweedie(
                mixture, x, alpha, sigma, sigma**2, 1.0
            ),
            "tweedie-sigma-for-variance": lambda mixture, x, alpha, sigma: _tweedie(
                mixture, x, alpha, sigma, sigma, alpha
            ),
            "tweedie-sign": lambda mixture, x, alpha, sigma: _tweedie(mixture, x, alpha, sigma, -(sigma**2), alpha),
            "tweedie-clean-score": lambda mixture, x, alpha, sigma: _tweedie(
                mixture, x, alpha, sigma, sigma**2, alpha, noised=False
            ),
        },
    ),
    subject(
        "bit-entropy",
        DiscreteLaw.entropy,
        ((bars_and_stripes(),), (DiscreteLaw([0.125, 0.25, 0.5, 0.125]),)),
        {
            "entropy-bits": edit(".sum()", ".sum() / math.log(2)"),
        },
    ),
    subject(
        "grid-posterior",
        Grid2d.posterior,
        ((_GRID, _GRID_VALUES),),
        {
            "grid-cell-forgotten": edit("return log_evidence,", "return log_evidence - self.log_cell,"),
            "grid-prior-forgotten": edit(".to(torch.float64) + log_prior", ".to(torch.float64)"),
        },
    ),
    subject(
        "ou-transition",
        OrnsteinUhlenbeck.transition,
        ((OrnsteinUhlenbeck(0.8, 1.3, 0.5), f64(-1.0, 2.0), 0.7),),
        {
            "ou-two-forgotten": edit("(2 * self.rate)", "self.rate"),
            "ou-decay-once": edit("-2 * self.rate * t", "-self.rate * t"),
            "ou-brownian": edit(
                "-torch.expm1(-2 * self.rate * t) * self.diffusion**2 / (2 * self.rate)", "self.diffusion**2 * t"
            ),
        },
    ),
    subject(
        "circle-log-prob",
        Circle.log_prob,
        ((Circle(0.6), _X2),),
        {
            "circle-normaliser-of-a-line": edit(
                "LOG_2PI - 2 * math.log(self.sigma)", "0.5 * LOG_2PI - math.log(self.sigma)"
            ),
            "circle-bessel-sigma": edit(
                *("torch.special.i0e(r / self.sigma**2)", "torch.special.i0(r / self.sigma)"),
                *("(r - 1).square()", "(r.square() + 1)"),
            ),
        },
    ),
    subject(
        "time-reversal",
        time_reversal,
        ((_CHAIN,),),
        {
            "reversal-transposed": edit(
                "pi * transition.mT / pi[:, None]", "transition.mT / transition.sum(0)[:, None]"
            ),
        },
    ),
)
