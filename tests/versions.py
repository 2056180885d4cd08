"""What `make versions` installs beside the locked versions: python tests/versions.py oldest|newest|colab.

Also the names that the newest versions have and the oldest have not: code that uses one runs here and fails there.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What Colab had installed in August 2026, on Python 3.13.
COLAB = (
    """torch==2.11.0 numpy==2.1.3 scipy==1.16.3 matplotlib==3.10.0 scikit-learn==1.6.1 pooch==1.9.0 ipywidgets==7.7.1"""
)

# Public names of the newest versions that the oldest lack, where they could be wanted here.
NEWER = {
    "numpy": """acos acosh asin asinh astype atan atan2 atanh bitwise_count bitwise_invert concat cumulative_prod
        cumulative_sum isdtype matrix_transpose matvec permute_dims pow strings trapezoid unique_all unique_counts
        unique_inverse unique_values unstack vecdot vecmat""",
    "numpy.linalg": """cross diagonal matmul matrix_norm matrix_transpose outer svdvals tensordot trace vecdot
        vector_norm""",
    "scipy": "differentiate",
    "scipy.integrate": "cubature lebedev_rule nsum tanhsinh",
    "scipy.optimize": "elementwise",
    "scipy.special": "legendre_p assoc_legendre_p log_wright_bessel softplus sph_harm_y sph_legendre_p",
    "scipy.stats": """Binomial Logistic Mixture Normal Uniform abs chatterjeexi dpareto_lognorm estimated_cdf exp
        irwinhall landau lmoment log make_distribution matrix_t normal_inverse_gamma order_statistic poisson_binom power
        quantile spearmanrho truncate wasserstein_distance_nd""",
    "matplotlib.pyplot": "grouped_bar pie_label",
    "torch": "float4_e2m1fn_x2 float8_e8m0fnu hash_tensor thread_safe_generator",
    "torch.distributed": "all_gather_single gather_into_tensor gather_single reduce_scatter_single shrink_group",
    "torch.distributions": "GeneralizedPareto",
    "torch.func": "debug_unwrap rearrange",
    "torch.linalg": "matrix_sqrth polar",
    "torch.nn": "LinearCrossEntropyLoss",
    "torch.nn.functional": "grouped_mm linear_cross_entropy scaled_mm",
    "torch.optim": "Muon",
    "ipywidgets": "ColorsInput DatetimePicker FloatsInput IntsInput NaiveDatetimePicker Stack TagsInput TimePicker",
}
# Forward mode loads its rules by torch.jit.script, which warns of itself on stderr since torch 2.14.
WARNING = {"torch": "jit", "torch.func": "hessian jacfwd jvp linearize", "torch.autograd": "forward_ad"}


def oldest() -> dict[str, str]:
    """{name: version} of the floors in pyproject.toml, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = sum(project["optional-dependencies"].values(), project["dependencies"])
    return dict(re.fullmatch(r"([\w.-]+)>=([\d.]+)(?:,.*)?", one).groups() for one in wanted)


def pins(which: str) -> str:
    """What pip is asked for, beside the project itself."""
    floors = " ".join(f"{name}=={version}" for name, version in oldest().items())
    return {"oldest": floors, "newest": "--upgrade --upgrade-strategy eager", "colab": COLAB}[which]


if __name__ == "__main__":
    which = " ".join(sys.argv[1:]) or "nothing"
    if which not in ("oldest", "newest", "colab"):
        sys.exit(f"WITH is {which}, expected oldest, newest or colab: make versions WITH=oldest")
    print(pins(which))
