"""The noise of another machine: of the right size, invisible to gradients, and seen by every print that rests on it."""

import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import nbformat
import numpy as np
import pytest
import torch
from noise import EPS, Noise, hooked

ROOT = Path(__file__).resolve().parents[1]


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, SQUARE = draw(30, 4), draw(5, 5, seed=1)
SINGULAR = torch.cos(torch.arange(100.0, dtype=torch.float64).reshape(10, 10))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("function", "units"),
    [
        (lambda x: x.exp(), 1),
        (lambda x: torch.sin(x), 1),
        (lambda x: torch.special.expit(x), 1),
        (lambda x: x.abs() ** 0.3, 1),
        (lambda x: torch.nn.functional.softplus(x), 1),
        (lambda x: x.log_softmax(-1), 8),
        (lambda x: x.abs().sum(), 8),
        (lambda x: x.abs() @ x.abs().T, 8),
        (lambda x: torch.einsum("ij,ik->jk", x.abs(), x.abs()), 8),
        (lambda x: torch.linalg.vector_norm(x, dim=1), 8),
        (lambda x: torch.linalg.svdvals(x), 40),
    ],
)
def test_a_result_moves_by_a_few_units_in_its_last_place(function, units, seed):
    exact = function(X)
    with Noise(seed):
        noisy, again = function(X), function(X)
    off = ((noisy - exact).abs() / exact.abs()).max()
    assert 0 < off <= 2 * units * EPS
    assert torch.equal(noisy, again)
    with Noise(seed + 10):
        assert not torch.equal(function(X), noisy)
    assert torch.equal(function(X), exact)


def test_a_sum_that_cancels_moves_by_what_its_terms_do():
    with Noise(0):
        assert (
            EPS / 100 < (SQUARE @ torch.linalg.inv(SQUARE) - torch.eye(5, dtype=torch.float64)).abs().max() < 1e3 * EPS
        )
        near = torch.cdist(X, X).diagonal()
        far = torch.cdist(X, X, compute_mode="donot_use_mm_for_euclid_dist").diagonal()
    assert 1e-9 < near.max() < 1e-6
    assert not far.any()


def test_what_every_machine_computes_alike_stays():
    whole = torch.arange(12.0, dtype=torch.float64).view(3, 4)
    functions = [
        lambda x: x + x / 3 - x * 0.1,
        lambda x: (x / 7).sqrt(),
        lambda x: x**2,
        lambda x: (x.float() / 3).exp(),
        lambda x: x.long() @ x.long().T,
        lambda x: x @ x.T,
        lambda x: (x * 0).exp(),
        lambda x: (x > 3).double().mean(0),
        lambda x: torch.cdist(x.repeat(9, 1), x.repeat(9, 1)).diagonal(),
        lambda x: torch.linalg.eigh(torch.diag(x[0] + 0.3)).eigenvalues,
        lambda x: torch.tensor([-torch.inf], dtype=torch.float64).exp(),
    ]
    exact = [function(whole) for function in functions]
    with Noise(0):
        assert all(torch.equal(function(whole), value) for function, value in zip(functions, exact, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_factorisations_hold_and_their_free_signs_are_drawn(seed):
    symmetric = SQUARE @ SQUARE.T
    with Noise(seed):
        q, r = torch.linalg.qr(X)
        u, s, vh = torch.linalg.svd(X)
        u2, s2, v2 = torch.svd(X)
        values, vectors = torch.linalg.eigh(symmetric)
        roots, columns = torch.linalg.eig(SQUARE)
        loose = torch.linalg.qr(SINGULAR).Q
    close = {"rtol": 0, "atol": 1e-13}
    torch.testing.assert_close(q @ r, X, **close)
    torch.testing.assert_close(u[:, :4] * s @ vh, X, **close)
    torch.testing.assert_close(u2 * s2 @ v2.T, X, **close)
    torch.testing.assert_close(vectors * values @ vectors.T, symmetric, **close)
    torch.testing.assert_close(columns * roots, SQUARE.to(columns) @ columns, **close)
    assert (loose - torch.linalg.qr(SINGULAR).Q).abs().max() > 0.1
    sign = (q / torch.linalg.qr(X).Q).mean(0)
    torch.testing.assert_close(sign.abs(), torch.ones_like(sign))


def test_signs_differ_between_seeds():
    seen = set()
    for seed in range(5):
        with Noise(seed):
            seen.add(tuple(torch.linalg.eigh(SQUARE @ SQUARE.T).eigenvectors.sign().flatten().tolist()))
    assert len(seen) > 1


def test_ties_go_the_other_way_and_nothing_else_does():
    ties = torch.tensor([[2.0, 1.0, 2.0], [0.5, 0.5, 3.0]])
    with Noise(0):
        assert ties.argmax(1).tolist() == [2, 2] and ties.argmin(1).tolist() == [1, 1] and ties.argmax() == 5
        assert ties.max(1).indices.tolist() == [2, 2] and ties.min(dim=-1).indices.tolist() == [1, 1]
        assert ties.topk(2).indices.sort().values.tolist() == [[0, 2], [1, 2]]
        assert ties.sort(1, descending=True).values.tolist() == [[2, 2, 1], [3, 0.5, 0.5]]
        assert ties.argsort(stable=True).tolist() == [[1, 0, 2], [0, 1, 2]]
        assert ties.max() == 3 and torch.max(ties, 0 * ties + 1)[0, 1] == 1
        assert (ties.long() == 2).long().argmax(1).tolist() == [0, 0]  # whole numbers: torch names the first
    plain = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    exact = [plain.argmax(), plain.argmax(1), plain.sort(0).indices, plain.topk(3).indices, plain.min(1).indices]
    with Noise(0):
        noisy = [plain.argmax(), plain.argmax(1), plain.sort(0).indices, plain.topk(3).indices, plain.min(1).indices]
    assert all(torch.equal(a, b) for a, b in zip(exact, noisy, strict=True))


def test_gradients_are_those_of_the_function():
    def loss(x):
        inverse = torch.linalg.inv(x @ x.T + 1)
        return (x.exp().log_softmax(-1) @ x.T @ inverse).sum() + x.sum(0).norm()

    x = draw(3, 3).requires_grad_()
    with Noise(0):
        assert torch.autograd.gradcheck(loss, x)
        assert torch.autograd.gradcheck(lambda x: torch.cdist(x, 2 * x), draw(30, 2).requires_grad_())
        assert torch.autograd.gradgradcheck(loss, x)
        batched = torch.func.vmap(torch.func.grad(loss))(draw(2, 3, 3))
        slope = torch.func.jvp(loss, (x.detach(),), (torch.ones_like(x),))[1]
        second = torch.func.hessian(loss)(x.detach())
    assert batched.shape == (2, 3, 3) and second.shape == (3,) * 4
    torch.testing.assert_close(slope, torch.autograd.grad(loss(x), x)[0].sum())


def test_numpy_is_reached_too():
    a, symmetric = SQUARE.numpy(), (SQUARE @ SQUARE.T).numpy()
    hook = lambda name, function: hooked(0, name, function)  # noqa: E731
    u, s, vh = hook("svd", np.linalg.svd)(a)
    np.testing.assert_allclose(u * s @ vh, a, atol=1e-13)
    values, vectors = hook("eigh", np.linalg.eigh)(symmetric)
    np.testing.assert_allclose(vectors * values @ vectors.T, symmetric, atol=1e-13)
    off = np.abs(hook("dot", np.dot)(a, a) - np.dot(a, a)).max()
    assert 0 < off < 100 * EPS
    assert isinstance(hook("det", np.linalg.det)(a.tolist()), float)
    assert hook("einsum", np.einsum)("ij,jk->ik", np.eye(2), np.eye(2)).tolist() == [[1, 0], [0, 1]]
    assert hook("argmax", np.argmax)([1.0, 1.0, 0.0]) == 1
    assert hook("argmax", np.argmax)(np.ones((2, 3)), axis=1).tolist() == [2, 2]
    assert hook("argsort", np.argsort)([1.0, 1.0, 0.0], kind="stable").tolist() == [2, 0, 1]
    assert hook("argmax", np.argmax)(np.array([1, 1, 0])) == 0
    assert hook("qr", np.linalg.qr)(a, mode="r").shape == (5, 5)


PLANTED = {
    "rank-deficient QR": "turn = torch.linalg.qr(torch.cos(torch.arange(100.0).reshape(10, 10)))[0]\n"
    "print(f'{turn[0, 5].abs():.4g}')",
    "a residual": "q = torch.linalg.qr(a)[0]\nprint((q.T @ q - torch.eye(4)).abs().max().item())",
    "an arg-max of ties": "print(torch.tensor([0.5, 0.25, 0.5]).argmax().item())",
    "a gauge": "print([f'{v:.4g}' for v in np.linalg.eigh((a @ a.T).numpy())[1].sum(0)])",
}
HEALTHY = {
    "setting": "import numpy as np, torch\ntorch.set_default_dtype(torch.float64)\n"
    "a = torch.cos(torch.arange(16.0) ** 2).view(4, 4)",
    "an invariant": "values, vectors = torch.linalg.eigh(a @ a.T)\nprint([f'{v:.4g}' for v in values])\n"
    "print(f'{(vectors @ vectors.T - torch.eye(4)).abs().max() < 1e-12}, {torch.linalg.det(a):.4g}')",
    "the names": "print(sorted(name for name in dir() if name in ('noise', 'sys', 'seed', 'STARTUP')))",
}


def test_a_notebook_whose_prints_rest_on_rounding_is_red(tmp_path):
    scope, cells = {}, []
    dtype = torch.get_default_dtype()
    for source in (HEALTHY | PLANTED).values():
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(source, scope)
        cells.append(nbformat.v4.new_code_cell(source, execution_count=1))
        if text := printed.getvalue():
            cells[-1].outputs = [nbformat.v4.new_output("stream", text=text)]
    torch.set_default_dtype(dtype)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "planted.ipynb")
    command = f"{sys.executable} -m pytest -p conftest -p no:cacheprovider --nbval --nbval-current-env -rA --color=no"
    ran = subprocess.run(
        [*command.split(), str(tmp_path / "planted.ipynb")],
        cwd=ROOT,
        env=os.environ | {"DGM_NOISE": "1"},
        capture_output=True,
        text=True,
    )
    summary = re.findall(r"^(PASSED|FAILED) .*::(Cell \d)", ran.stdout, re.MULTILINE)
    verdicts = {cell: verdict for verdict, cell in summary}
    assert [verdicts[f"Cell {i}"] for i in range(7)] == ["PASSED"] * 3 + ["FAILED"] * 4, ran.stdout


def test_a_seed_that_is_none_is_refused():
    with mock.patch.dict(os.environ, DGM_NOISE="-1"), pytest.raises(pytest.UsageError, match="DGM_NOISE is '-1'"):
        runpy.run_path(str(ROOT / "conftest.py"))
