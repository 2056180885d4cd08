"""From data to parameters, and from samples to averages (chapter 03).

Maximum likelihood in closed form, by gradient and by Newton; posteriors and their modes; what the curvature of a
log-likelihood says about the error; likelihoods as code lengths; which zeros a maximum-likelihood model will regret.
Arguments called `x` are data, one example a row. Everything is in nats unless its name says bits.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from dgmlib.core import checked, need_between, need_count, need_finite, need_levels, need_probabilities

LogDensity = Callable[[Tensor, Tensor], Tensor]  # (theta, one example) -> scalar log p(x; theta)


def _counts(x: Integer[Tensor, "n d"], levels: int) -> Int64[Tensor, "d levels"]:
    need_levels("x", x, need_count("levels", levels, 2))
    return torch.stack([(x == level).sum(0) for level in range(levels)], -1)


# --- maximum likelihood in closed form ------------------------------------------------------------------------------


@checked
def bernoulli_mle(x: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """The share of ones in each column of 0/1 data: the maximum of the Bernoulli likelihood.

    Implements :eq:`eq-mle-bernoulli`.

    >>> bernoulli_mle(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).tolist()
    [1.0, 0.5]
    """
    return need_levels("x", x, 2).mean(0)


@checked
def categorical_mle(x: Integer[Tensor, "n d"], levels: int) -> Float[Tensor, "d levels"]:
    """The share of each grey level in each column of integer data `(n, d)`, in float64.

    Implements :eq:`eq-mle-categorical`.

    >>> categorical_mle(torch.tensor([[0], [1], [2], [2]]), levels=3).tolist()
    [[0.25, 0.25, 0.5]]
    """
    return _counts(x, levels).double() / x.shape[0]


@checked
def gaussian_mle(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """Mean and covariance of the data, the latter divided by n: biased by the factor (n - 1)/n.

    Implements :eq:`eq-mle-gaussian`. The covariance is singular when n <= d.

    >>> [part.tolist() for part in gaussian_mle(torch.tensor([[0.0], [2.0]]))]
    [[1.0], [[1.0]]]
    """
    mean = need_finite("x", x).mean(0)
    centred = x - mean
    return mean, centred.T @ centred / x.shape[0]


@checked
def least_squares(features: Float[Tensor, "n d"], y: Float[Tensor, " n"]) -> Float[Tensor, " d"]:
    """Weights w that maximise the likelihood of y = features w + Gaussian noise; the shortest such w if several do.

    Implements :eq:`eq-least-squares`.

    >>> features, y = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), torch.tensor([1.0, 3.0, 5.0])
    >>> least_squares(features, y).round(decimals=3).tolist()
    [1.0, 2.0]
    """
    return torch.linalg.pinv(need_finite("features", features)) @ need_finite("y", y)


# --- maximum likelihood by iteration --------------------------------------------------------------------------------


@checked
def gradient_descent(
    loss: Callable[[Tensor], Tensor], start: Float[Tensor, " k"], step_size: float, n_steps: int
) -> Float[Tensor, "steps k"]:
    """The path theta <- theta - step_size grad loss(theta), start included: `(n_steps + 1, k)`.

    Implements :eq:`eq-gradient-descent`. `loss` maps `(k,)` to a scalar.

    >>> gradient_descent(lambda w: w.square().sum(), torch.ones(1), step_size=0.25, n_steps=2).tolist()
    [[1.0], [0.5], [0.25]]
    """
    path = [need_finite("start", start)]
    need_between("step_size", step_size, -math.inf, math.inf, open_ends=True)
    for _ in range(need_count("n_steps", n_steps)):
        path.append(path[-1] - step_size * torch.func.grad(loss)(path[-1]))
    return torch.stack(path)


@checked
def newton(loss: Callable[[Tensor], Tensor], start: Float[Tensor, " k"], n_steps: int) -> Float[Tensor, "steps k"]:
    """The path theta <- theta - H^-1 grad loss(theta), H the Hessian there, start included: `(n_steps + 1, k)`.

    Implements :eq:`eq-newton`. Exact in one step on a quadratic; from afar it may climb or diverge.

    >>> newton(lambda w: (w - 3).square().sum(), torch.zeros(1), n_steps=1).tolist()
    [[0.0], [3.0]]
    """
    path = [need_finite("start", start)]
    for _ in range(need_count("n_steps", n_steps)):
        gradient, hessian = torch.func.grad(loss)(path[-1]), torch.func.jacrev(torch.func.grad(loss))(path[-1])
        path.append(path[-1] - torch.linalg.solve(hessian, gradient))
    return torch.stack(path)


# --- how good the estimate is ---------------------------------------------------------------------------------------


@checked
def score_moments(
    log_prob: LogDensity, theta: Float[Tensor, " k"], x: Float[Tensor, "n *event"], weights: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " k"], Float[Tensor, "k k"], Float[Tensor, "k k"]]:
    """Mean score, second moment of the score, and mean curvature at `theta`, averaged over a law of x.

    Implements :eq:`eq-fisher-information`: E[s], E[s s^T] and -E[Hessian of log p], with s the gradient in theta of
    log p(x; theta). `x` and `weights` are the points of the law that x follows and their probabilities. The two
    matrices are both the Fisher information when that law is p(x; theta) itself, and differ otherwise.

    >>> log_normal = lambda mean, x: -(x - mean).square().sum() / 2
    >>> x, weights = torch.tensor([[-2.0], [2.0]]), torch.tensor([0.5, 0.5])
    >>> [part.tolist() for part in score_moments(log_normal, torch.zeros(1), x, weights)]
    [[0.0], [[4.0]], [[1.0]]]
    """
    need_probabilities("weights", weights), need_finite("theta", theta), need_finite("x", x)
    scores = torch.func.vmap(torch.func.grad(log_prob), (None, 0))(theta, x)
    hessians = torch.func.vmap(torch.func.jacrev(torch.func.grad(log_prob)), (None, 0))(theta, x)
    return (
        weights @ scores,
        torch.einsum("n,ni,nj->ij", weights, scores, scores),
        -torch.einsum("n,nij->ij", weights, hessians),
    )


@checked
def sandwich(score_second_moment: Float[Tensor, "k k"], curvature: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
    """A^-1 B A^-1: the covariance of sqrt(n) (theta_hat - theta) for large n, whether or not the model is right.

    Implements :eq:`eq-sandwich`, B = E[s s^T], A = -E[Hessian]. Huber, 1967. Equal to A^-1 in a well-specified model.

    >>> sandwich(torch.tensor([[8.0]]), torch.tensor([[2.0]])).tolist()
    [[2.0]]
    """
    need_finite("score_second_moment", score_second_moment)
    bread, failed = torch.linalg.inv_ex(need_finite("curvature", curvature))
    if failed:
        raise ValueError("curvature is singular, expected a matrix that can be inverted")
    return bread @ score_second_moment @ bread


@checked
def monte_carlo(values: Float[Tensor, " n"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The mean of independent values, and its standard error s/sqrt(n).

    Implements :eq:`eq-monte-carlo`. s^2 is the unbiased sample variance; needs n >= 2.

    >>> mean, error = monte_carlo(torch.tensor([1.0, 3.0]))
    >>> round(mean.item(), 4), round(error.item(), 4)
    (2.0, 1.0)
    """
    if len(need_finite("values", values)) < 2:
        raise ValueError("values has one element, expected at least two to estimate a standard error")
    return values.mean(), values.std() / math.sqrt(values.shape[0])


# --- priors and posteriors ------------------------------------------------------------------------------------------


@checked
def beta_posterior(x: Float[Tensor, "n d"], a: float, b: float) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Parameters (a + ones, b + zeros) of the Beta posterior of each column's probability of a one.

    Implements :eq:`eq-beta-posterior`. The prior is Beta(a, b); its mean (a + ones)/(a + b + n) is the posterior
    predictive probability of a one.

    >>> [part.tolist() for part in beta_posterior(torch.tensor([[1.0], [1.0], [0.0]]), a=1.0, b=1.0)]
    [[3.0], [2.0]]
    """
    need_between("a", a, 0, math.inf, open_ends=True)
    need_between("b", b, 0, math.inf, open_ends=True)
    ones = (bernoulli_mle(x) * x.shape[0]).round()
    return a + ones, b + x.shape[0] - ones


@checked
def beta_mode(a: Tensor | float, b: Tensor | float, jacobian_power: float = 0.0) -> Tensor | float:
    """The probability at which a Beta(a, b) density peaks when drawn over the coordinate phi with dp/dphi = (p(1-p))^r.

    Implements :eq:`eq-map-coordinates`: (a - 1 + r)/(a + b - 2 + 2r), r = `jacobian_power`: 0 for p itself, 1/2 for
    arcsin sqrt p, 1 for logit p. Raises ValueError where there is no interior peak.

    >>> round(beta_mode(3.0, 2.0), 4), beta_mode(3.0, 2.0, jacobian_power=1.0)  # over p, over logit p
    (0.6667, 0.6)
    """
    inner_a, inner_b = a - 1 + jacobian_power, b - 1 + jacobian_power
    if not all(((0 < u) & (u < torch.inf)).all() for u in map(torch.as_tensor, (inner_a, inner_b))):
        raise ValueError(
            f"Beta({a}, {b}) has no interior peak in this coordinate, expected a and b above {1 - jacobian_power}"
        )
    return inner_a / (inner_a + inner_b)


@checked
def categorical_predictive(x: Integer[Tensor, "n d"], levels: int, concentration: float) -> Float[Tensor, "d levels"]:
    """Posterior predictive of each column's grey level under a symmetric Dirichlet prior, in float64.

    Implements :eq:`eq-dirichlet-predictive`: (count + concentration)/(n + levels * concentration); no zeros.

    >>> categorical_predictive(torch.tensor([[0], [0]]), levels=2, concentration=1.0).tolist()
    [[0.75, 0.25]]
    """
    need_between("concentration", concentration, 0, math.inf, open_ends=True)
    return (_counts(x, levels).double() + concentration) / (x.shape[0] + levels * concentration)


@checked
def normal_posterior(
    x: Float[Tensor, " n"], variance: float, prior_mean: float, prior_variance: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean and variance of the Gaussian posterior of the mean of N(mean, variance), `variance` known.

    Implements :eq:`eq-normal-posterior`. Precisions add: 1/prior_variance + n/variance. The next datum is predicted
    with the posterior variance plus `variance`.

    >>> mean, variance = normal_posterior(torch.tensor([2.0]), 1.0, prior_mean=0.0, prior_variance=1.0)
    >>> mean.item(), variance.item()
    (1.0, 0.5)
    """
    need_between("variance", variance, 0, math.inf, open_ends=True)
    need_between("prior_mean", prior_mean, -math.inf, math.inf)
    need_between("prior_variance", prior_variance, 0, math.inf, open_ends=True)
    posterior_variance = 1 / (1 / prior_variance + len(need_finite("x", x)) / x.new_tensor(variance))
    return posterior_variance * (prior_mean / prior_variance + x.sum() / variance), posterior_variance


@checked
def gaussian_map(
    x: Float[Tensor, "n d"], scale: float, degrees: float
) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """Mean and covariance at the posterior mode: flat prior on the mean, inverse-Wishart on the covariance.

    Implements :eq:`eq-map-gaussian`: (n S + scale I)/(n + degrees + d + 1) with S the maximum-likelihood covariance.
    Positive definite for every n. Raises ValueError unless scale > 0 and degrees > d - 1.

    >>> mean, cov = gaussian_map(torch.tensor([[0.0], [2.0]]), scale=2.0, degrees=4.0)
    >>> mean.tolist(), cov.tolist()
    ([1.0], [[0.5]])
    """
    mean, cov = gaussian_mle(x)
    n, d = x.shape
    need_between("scale", scale, 0, math.inf, open_ends=True)
    need_between("degrees", degrees, d - 1, math.inf, open_ends=True)
    return mean, (n * cov + scale * torch.eye(d, dtype=x.dtype, device=x.device)) / (n + degrees + d + 1)


@checked
def ridge(features: Float[Tensor, "n d"], y: Float[Tensor, " n"], penalty: float) -> Float[Tensor, " d"]:
    """argmin |y - features w|^2 + penalty |w|^2: the posterior mode under the prior w ~ N(0, noise/penalty I).

    Implements :eq:`eq-ridge`; `penalty` > 0 is the ratio of noise variance to prior variance.

    >>> ridge(torch.tensor([[1.0], [1.0]]), torch.tensor([1.0, 3.0]), penalty=2.0).tolist()
    [1.0]
    """
    need_between("penalty", penalty, 0, math.inf, open_ends=True)
    need_finite("features", features), need_finite("y", y)
    identity = torch.eye(features.shape[1], dtype=features.dtype, device=features.device)
    return torch.linalg.solve(features.T @ features + penalty * identity, features.T @ y)


@checked
def soft_threshold(u: Float[Tensor, "*shape"], threshold: Float[Tensor, "..."] | float) -> Float[Tensor, "..."]:
    """argmin_w (u - w)^2/2 + threshold |w|: moves u towards zero by `threshold`, and to zero if it is nearer.

    Implements :eq:`eq-soft-threshold`; `threshold` >= 0.

    >>> soft_threshold(torch.tensor([-3.0, 0.5, 2.0]), 1.0).tolist()
    [-2.0, 0.0, 1.0]
    """
    if not (torch.as_tensor(threshold) >= 0).all():
        raise ValueError(f"threshold is {threshold}, expected no negative number")
    return need_finite("u", u).sign() * (u.abs() - threshold).clamp(min=0)


@checked
def lasso(
    features: Float[Tensor, "n d"], y: Float[Tensor, " n"], penalty: float, n_sweeps: int = 200
) -> Float[Tensor, " d"]:
    """argmin |y - features w|^2/2 + penalty |w|_1: the posterior mode under a Laplace prior, by coordinate descent.

    Implements :eq:`eq-lasso`; `penalty` > 0 is the noise variance over the prior's scale. Each coordinate's exact
    minimiser given the others is a soft threshold; `n_sweeps` passes over all coordinates.

    >>> lasso(torch.eye(2), torch.tensor([3.0, 0.5]), penalty=1.0, n_sweeps=2).tolist()
    [2.0, 0.0]
    """
    need_between("penalty", penalty, 0, math.inf, open_ends=True)
    need_finite("y", y)
    squares = need_finite("features", features).square().sum(0)
    if not (squares > 0).all():
        raise ValueError("features has a column of zeros, expected every feature to vary")
    w, residual = torch.zeros_like(squares), y.clone()
    for _ in range(need_count("n_sweeps", n_sweeps)):
        for j in range(w.shape[0]):
            column = features[:, j]
            new = soft_threshold(w[j] + column @ residual / squares[j], penalty / squares[j])
            residual += column * (w[j] - new)
            w[j] = new
    return w


# --- likelihoods of images, and their price in bits -----------------------------------------------------------------


@checked
def bernoulli_log_prob(x: Float[Tensor, "n d"], probs: Float[Tensor, " d"]) -> Float[Tensor, " n"]:
    """log p(x) of 0/1 rows under independent pixels, `probs` of a one; -inf where a pixel was declared impossible.

    Implements :eq:`eq-bernoulli`. In nats per image; grey values between 0 and 1 are refused (see chapter 09).

    >>> bernoulli_log_prob(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([1.0, 0.0])).tolist()
    [0.0, -inf]
    """
    need_levels("x", x, 2)
    if not ((probs >= 0) & (probs <= 1)).all():
        raise ValueError(f"probs has values from {probs.min():.3g} to {probs.max():.3g}, expected probabilities")
    return torch.where(x == 1, probs, 1 - probs).log().sum(-1)


@checked
def categorical_log_prob(x: Integer[Tensor, "n d"], probs: Float[Tensor, "d levels"]) -> Float[Tensor, " n"]:
    """log p(x) of integer rows `(n, d)` under independent pixels with their own table of level probabilities, in nats.

    Implements :eq:`eq-categorical`.

    >>> round(categorical_log_prob(torch.tensor([[0]]), torch.tensor([[0.25, 0.75]])).item(), 4)  # log 1/4
    -1.3863
    """
    d, levels = need_probabilities("probs", probs).shape
    return probs.log()[torch.arange(d, device=x.device), need_levels("x", x, levels).long()].sum(-1)


@checked
def bits_per_dim(log_prob: Float[Tensor, " n"], d: int, levels: int = 1) -> Float[Tensor, " n"]:
    """-log2 p per coordinate, of data counted in grey levels: what a code for the integers would pay.

    Implements :eq:`eq-bits-per-dim`: -log_prob/(d log 2) + log2(levels). `levels` is how many grey levels one unit of
    the density's own scale holds: 1 for a mass function or a density of x + u, 256 for a density of (x + u)/256.

    >>> round(bits_per_dim(torch.tensor([-8 * math.log(2)]), d=4).item(), 4)
    2.0
    """
    need_count("d", d)
    need_count("levels", levels)
    return -log_prob / (d * math.log(2)) + math.log2(levels)


@checked
def code_lengths(p: Float[Tensor, " states"]) -> Float[Tensor, " states"]:
    """Shannon's code lengths, ceil(-log2 p), in whole bits: a prefix code with these lengths exists (Kraft).

    Implements :eq:`eq-code-length`. Its mean is below the entropy in bits plus one.

    >>> code_lengths(torch.tensor([0.5, 0.25, 0.125, 0.125])).tolist()
    [1.0, 2.0, 3.0, 3.0]
    """
    return (-need_probabilities("p", p, 1).log2()).ceil()


@checked
def predicted_zero_share(x: Float[Tensor, "n d"]) -> float:
    """The share of unseen 0/1 images to which `bernoulli_mle(x)` will give probability zero, from `x` alone.

    Implements :eq:`eq-good-turing`: the share of training images that are the only owner of some pixel's value, which
    is what leaving each out in turn would call impossible. Good, 1953 (with Turing).

    >>> predicted_zero_share(torch.tensor([[1.0], [0.0], [0.0], [0.0]]))
    0.25
    """
    ones = bernoulli_mle(x).mul(x.shape[0]).round()
    sole_one, sole_zero = ones == 1, ones == x.shape[0] - 1
    owner = ((x == 1) & sole_one) | ((x == 0) & sole_zero)
    return owner.any(-1).double().mean().item()


if __name__ == "__main__":  # python -m dgmlib.estimation
    from dgmlib.commands import run

    run("estimation")
