"""Numbers for the tests: float64 tensors, seeded generators, and what counts as equal."""

import torch


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


def close(a, b, rtol=1e-10, atol=1e-12):
    """Assert that two tensors or nested lists have the same shape and, in float64, the same values."""
    a, b = (torch.as_tensor(side, dtype=torch.float64) for side in (a, b))
    torch.testing.assert_close(a.detach(), b.detach(), rtol=rtol, atol=atol)
