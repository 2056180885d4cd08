"""Wrong variants of `dgmlib.mixtures` (chapter 06)."""

import torch
from torch import Tensor

from dgmlib.bugs import Bug, Slip, Subject
from dgmlib.mixtures import Bernoullis, Gaussians, elbo, evidence, factor_step, floored, responsibilities

CHAPTER = "06"


def _t(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


WEIGHTS, LOG_P = _t(0.2, 0.8), _t((-1.0, -2.0), (0.5, -0.3), (-4.0, 0.2))
LOG_JOINT, Q = WEIGHTS.log() + LOG_P, _t((0.3, 0.7), (0.9, 0.1), (0.5, 0.5))
X = _t((0.0, 1.0), (2.0, -1.0), (1.0, 3.0), (-2.0, 0.5), (0.7, 0.9))
COUNTS = _t((0.9, 0.1), (0.2, 0.8), (0.5, 0.5), (0.7, 0.3), (0.4, 0.6))
BITS, OLD_MEANS = (X > 0.6).double(), _t((0.5, 0.5), (-1.0, 0.0))
COV, LOADING, NOISE = (
    _t((2.0, 0.5, 0.3), (0.5, 1.0, -0.2), (0.3, -0.2, 1.5)),
    _t((1.0,), (0.4,), (-0.3,)),
    _t(0.7, 0.9, 1.1),
)


def _m_step(x: Tensor, counts: Tensor, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The M step of a full mixture as plain tensors; `means` are the old ones, which it must not use."""
    eye = torch.eye(x.shape[1], dtype=x.dtype).expand(len(means), -1, -1)
    new = Gaussians(torch.full((len(means),), 1 / len(means), dtype=x.dtype), means, eye).maximised(x, counts)
    return new.weights, new.means, new.covs


def _about_old(x: Tensor, counts: Tensor, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weights, new, covs = _m_step(x, counts, means)
    return weights, new, covs + torch.einsum("ki,kj->kij", new - means, new - means)


def _unbiased(x: Tensor, counts: Tensor, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weights, new, covs = _m_step(x, counts, means)
    size = counts.sum(0)[:, None, None]
    return weights, new, covs * size / (size - 1)


def _by_all(x: Tensor, counts: Tensor, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weights, new, covs = _m_step(x, counts, means)
    return weights, new * weights[:, None], covs * weights[:, None, None]


def _hard(x: Tensor, counts: Tensor, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _m_step(x, (counts == counts.max(1, keepdim=True).values).to(x.dtype), means)


def _coins(x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    start = Bernoullis(WEIGHTS, torch.full((2, x.shape[1]), 0.5, dtype=x.dtype), prior_counts=0.7)
    best = start.maximised(x, counts)
    return best.weights, best.probs


def _factor_parts(cov: Tensor, weight: Tensor, noise: Tensor, spread: float = 1.0, late: bool = False):
    """The factor step with its parts exchangeable."""
    scaled = weight / noise[:, None]
    posterior = torch.linalg.inv(torch.eye(weight.shape[1], dtype=cov.dtype) + weight.T @ scaled)
    gain = posterior @ scaled.T
    cross = cov @ gain.T
    new = torch.linalg.solve(spread * posterior + gain @ cross, cross.T).T
    return new, (cov - (weight if late else new) @ cross.T).diagonal(), factor_step(cov, weight, noise)[2]


SUBJECTS = (
    Subject(
        "mixture-evidence",
        evidence,
        ((LOG_JOINT,),),
        (
            Bug(
                "evidence-sum-of-logs",
                "sum_k log p(x, z = k): the logarithm does not pass through a sum.",
                lambda joint: joint.sum(1),
                name="sum of the logs",
                symptom="falls with every component that is added",
                place="the order of sum and logarithm",
                cure="log of the sum: logsumexp over components",
            ),
            Bug(
                "evidence-best-component",
                "The largest term for the sum: never above the evidence, and up to log K below.",
                lambda joint: joint.max(1).values,
                name="the best component only",
                symptom="right where one component explains the datum, up to log K too low between components",
                place="the sum over components",
                cure="logsumexp over components, not their maximum",
            ),
            Bug(
                "evidence-mean",
                "The mean over components: log K too low.",
                lambda joint: joint.exp().mean(1).log(),
                name="mean over components",
                symptom="log K too low for every datum; the law sums to 1/K",
                place="the weights of the components",
                cure="sum: the weights p(z = k) are in the joint already",
            ),
        ),
    ),
    Subject(
        "mixture-posterior",
        lambda weights, log_p: responsibilities(weights.log() + log_p),
        ((WEIGHTS, LOG_P),),
        (
            Bug(
                "posterior-no-prior",
                "p(x | z) normalised over z: the weights of the components are left out.",
                lambda weights, log_p: log_p.softmax(1),
                name="prior left out",
                symptom="rare components claim too much",
                place="the log-weights",
                cure="softmax over k of log pi_k + log p(x | z = k)",
            ),
            Bug(
                "posterior-over-data",
                "Normalised over the data instead of over the components.",
                lambda weights, log_p: (weights.log() + log_p).softmax(0),
                name="normalised over data",
                symptom="the rows do not sum to one; a datum alone gets 1 everywhere",
                place="the axis of the softmax",
                cure="softmax over components, axis 1",
            ),
            Bug(
                "posterior-hard",
                "All of each datum given to its likeliest component: k-means, not EM.",
                lambda weights, log_p: torch.nn.functional.one_hot((weights.log() + log_p).argmax(1), 2).to(
                    log_p.dtype
                ),
                name="all to the likeliest",
                symptom="the evidence that EM climbs may fall; soft borders become sharp",
                place="the arg max",
                cure="keep the shares: softmax over k of log pi_k + log p(x | z = k)",
            ),
        ),
        of=responsibilities,
    ),
    Subject(
        "mixture-elbo",
        elbo,
        ((LOG_JOINT, Q),),
        (
            Bug(
                "mixture-elbo-no-entropy",
                "E_q log p(x, z) alone: its maximum over q is a hard assignment.",
                lambda joint, q: (q * joint).sum(1),
                name="no entropy of q",
                symptom="below the evidence even at the posterior",
                place="the term -sum q log q",
                cure="add the entropy: sum q (log p(x, z) - log q)",
            ),
            Bug(
                "mixture-elbo-entropy-sign",
                "The entropy subtracted.",
                lambda joint, q: (q * (joint + q.log())).sum(1),
                name="entropy subtracted",
                symptom="not equal to the evidence even at the posterior",
                place="the sign of log q",
                cure="subtract log q: sum q (log p(x, z) - log q)",
            ),
            Bug(
                "mixture-elbo-log-outside",
                "log E_q p(x, z): the log outside the mean, below the evidence whatever q.",
                lambda joint, q: (q * joint.exp()).sum(1).log(),
                name="logarithm outside the mean",
                symptom="below the evidence even at the posterior",
                place="the order of mean and logarithm",
                cure="average the logs: sum q (log p(x, z) - log q)",
            ),
        ),
    ),
    Subject(
        "mixture-m-step",
        _m_step,
        ((X, COUNTS, OLD_MEANS),),
        (
            Bug(
                "E4-09",
                "The covariance taken about the old mean: too large by the step's own square.",
                _about_old,
                name="about the old mean",
                symptom="EM is slower, and its fixed points are still right",
                place="the centre of the deviations",
                cure="means first, then covariances about the new means",
            ),
            Bug(
                "m-step-unbiased",
                "N_k - 1 for N_k: not the maximiser, and EM may descend.",
                _unbiased,
                name="one subtracted from N_k",
                symptom="the likelihood may fall in an M step",
                place="the divisor of the weighted squares",
                cure="divide by N_k, the sum of the responsibilities",
            ),
            Bug(
                "m-step-by-all",
                "Divided by N instead of by N_k: means shrink towards the origin.",
                _by_all,
                name="divided by all data",
                symptom="all means near zero",
                place="the divisor of the weighted sums",
                cure="divide by N_k, the component's own sum of responsibilities",
            ),
            Bug(
                "m-step-hard",
                "Responsibilities rounded to 0 and 1 before they are used.",
                _hard,
                name="responsibilities rounded",
                symptom="components do not overlap, and the likelihood may fall",
                place="the weights of the sums",
                cure="use the responsibilities as they are",
            ),
        ),
        of=Gaussians.maximised,
    ),
    Subject(
        "variance-floor",
        lambda covs, floor: floored(covs, floor, matrices=True),
        ((_t(((1.0, 0.5), (0.5, 0.3)), ((0.01, 0.0), (0.0, 2.0))), 0.1),),
        (
            Bug(
                "floor-added",
                "The floor added to every variance: a ridge, which no likelihood under the bound asks for.",
                lambda covs, floor: covs + floor * torch.eye(covs.shape[-1], dtype=covs.dtype),
                name="floor added",
                symptom="well-determined components are widened too",
                place="the map of each eigenvalue",
                cure="max(eigenvalue, floor): what lies above stays as it was",
            ),
            Bug(
                "floor-diagonal",
                "Only the diagonal is clamped: a narrow oblique direction passes.",
                lambda covs, floor: covs + torch.diag_embed((floor - covs.diagonal(dim1=1, dim2=2)).clamp(min=0)),
                name="only the diagonal clamped",
                symptom="an eigenvalue below the floor survives in an oblique component",
                place="the axes along which one clamps",
                cure="clamp the eigenvalues, in the basis of eigenvectors",
            ),
        ),
        of=floored,
    ),
    Subject(
        "coin-step",
        _coins,
        ((BITS, COUNTS),),
        (
            Bug(
                "coins-one-count",
                "prior_counts added to the heads but once to the total, where it belongs twice.",
                lambda x, c: (_coins(x, c)[0], (c.T @ x + 0.7) / (c.sum(0)[:, None] + 0.7)),
                name="pseudo-count once below",
                symptom="a pixel lit in every image gets probability 1 exactly; with few data all go to 1, not to 1/2",
                place="the denominator",
                cure="(heads + c)/(N_k + 2 c): c for heads and c for tails",
            ),
            Bug(
                "coins-no-prior",
                "Plain frequencies: a pixel never seen lit makes every new image that has it impossible.",
                lambda x, c: (_coins(x, c)[0], c.T @ x / c.sum(0)[:, None]),
                name="no pseudo-counts",
                symptom="test likelihood of zero",
                place="the pseudo-counts",
                cure="(heads + c)/(N_k + 2 c)",
            ),
        ),
        of=Bernoullis.maximised,
    ),
    Subject(
        "factor-step",
        factor_step,
        ((COV, LOADING, NOISE),),
        (
            Bug(
                "factor-no-posterior-spread",
                "E[z z^T | x] taken for E[z | x] E[z | x]^T: the posterior's covariance is missing.",
                lambda *a: _factor_parts(*a, spread=0.0),
                name="posterior's spread forgotten",
                symptom="the noise is estimated too small, the loadings too large",
                place="the second moment E[z z^T | x]",
                cure="add the posterior covariance to E[z | x] E[z | x]^T",
            ),
            Bug(
                "factor-old-loadings",
                "The noise computed with the old loadings.",
                lambda *a: _factor_parts(*a, late=True),
                name="noise with old loadings",
                symptom="the likelihood is no longer sure to rise",
                place="the loadings in the update of the noise",
                cure="update the loadings first, and the noise with the new ones",
            ),
        ),
    ),
)

SLIPS = {
    "continuous-unweighted": Slip(
        "The values of a continuous cause all given the same weight, whatever its law.",
        name="causes counted alike",
        holds="integrate p(x | z) p(z) dz: each value by its density",
        misleads="with a flat law of the cause",
    ),
    "joint-without-prior": Slip(
        "p(x | z) taken for the joint p(x, z): the table does not add up to one.",
        name="likelihood for joint",
        holds="p(x, z) = p(z) p(x | z), and the table sums to one",
        misleads="with equal weights, up to a factor",
    ),
    "mixture-sd-for-variance": Slip(
        "The variance used as the standard deviation of a component.",
        name="variance as deviation",
        holds="a component's standard deviation is the root of its variance",
        misleads="at variance one",
    ),
    "seeding-by-distance": Slip(
        "The next first mean drawn by distance instead of by its square.",
        name="seeding by distance",
        holds="k-means++ draws the next mean in proportion to the squared distance",
        misleads="far points are favoured either way, only less",
    ),
    "seeding-uniform": Slip(
        "First means drawn uniformly from the data.",
        name="seeding uniformly",
        holds="draw by squared distance from the means so far, or small clusters go without one",
        misleads="with clusters of equal size the chance is fair",
    ),
    "bic-no-penalty": Slip(
        "Models of different size compared by their training likelihood.",
        name="no price for size",
        holds="BIC subtracts (k/2) log n for k parameters",
        misleads="training likelihood always favours the larger model",
    ),
    "completion-by-the-prior": Slip(
        "Unseen pixels filled with the mixture's mean, whatever was seen.",
        name="completed by the mean",
        holds="fill with the components' means, weighed by responsibilities given what was seen",
        misleads="the average image looks plausible everywhere",
    ),
    "mixture-variance-within": Slip(
        "The variance of a mixture without that of its means.",
        name="means' spread forgotten",
        holds="total variance = mean of the variances + variance of the means",
        misleads="with means close together",
    ),
    "em-rate-complete": Slip(
        "The speed of EM taken from the information of complete data: convergence in one step.",
        name="EM converges at once",
        holds="its rate is the share of the information that is missing, complete information being the reference",
        misleads="with components far apart, where little is missing",
    ),
    "weights-are-copies-squared": Slip(
        "A datum of weight 2 counted four times.",
        name="weight squared",
        holds="a datum of weight w counts like w copies",
        misleads="at weight one",
    ),
    "kmeans-is-em": Slip(
        "Lloyd's iteration taken for EM at any variance.",
        name="Lloyd is EM",
        holds="Lloyd's iteration is the limit of EM with equal weights and one variance tending to zero",
        misleads="with clusters far apart",
    ),
}
