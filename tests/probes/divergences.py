"""Example calls of `dgmlib.divergences`."""

import torch
from exact import f64

from dgmlib import divergences

P, Q = f64(0.2, 0.3, 0.5), f64(0.6, 0.3, 0.1)
PAIR = {"p": P, "q": Q}
X = f64((1.0, 2.0), (0.5, -1.0), (0.0, 3.0))
OPEN = {key: {"NaN", "infinite"} for key in ("score_p", "score_q", "log_p", "log_q")}
EYE = torch.eye(2, dtype=torch.float64)

CALLS = {
    "entropy": (divergences.entropy, {"p": P}),
    "cross_entropy": (divergences.cross_entropy, PAIR),
    "kl_divergence": (divergences.kl_divergence, PAIR),
    "js_divergence": (divergences.js_divergence, PAIR),
    "renyi_divergence": (divergences.renyi_divergence, {**PAIR, "alpha": 0.3}),
    "total_variation": (divergences.total_variation, PAIR),
    "hellinger_squared": (divergences.hellinger_squared, PAIR),
    "chi_squared": (divergences.chi_squared, PAIR),
    "f_divergence": (divergences.f_divergence, {**PAIR, "generator": "kl"}),
    "wasserstein_1": (divergences.wasserstein_1, {"points": f64(0, 1, 3), **PAIR}),
    "wasserstein_samples": (divergences.wasserstein_samples, {"x": P, "y": Q, "order": 2.0}, {"order": {"infinite"}}),
    "mmd_squared": (divergences.mmd_squared, {"gram": torch.eye(3, dtype=torch.float64), **PAIR}),
    "fisher_divergence": (divergences.fisher_divergence, {"score_p": X, "score_q": X + 1}, OPEN),
    "kl_gaussian": (divergences.kl_gaussian, {"mean_p": X[0], "cov_p": EYE, "mean_q": X[1], "cov_q": 2 * EYE}),
    "kl_terms": (divergences.kl_terms, {"log_p": P, "log_q": Q}, OPEN),
    "kl_terms_nonnegative": (divergences.kl_terms_nonnegative, {"log_p": P, "log_q": Q}, OPEN),
}
UNPROBED = {"Generator": "a record of two fields"}
