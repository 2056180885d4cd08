"""Image sets and their files, minibatches, dequantisation, and the densities in the plane."""

import functools
import gzip
import hashlib
import http.server
import itertools
import math
import pickle
import resource
import subprocess
import sys
import threading

import numpy as np
import pytest
import scipy.special
import scipy.stats
import standins
import torch
from exact import rng
from sklearn.datasets import load_digits

from dgmlib import core, data
from dgmlib.data import Batches, Logit, dequantize, load, subset

# --- image sets -----------------------------------------------------------------------------------------------------


def test_digits_are_scikit_learns_each_once_in_the_documented_split():
    images = load("digits")
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(1797)
    assert [len(x) for x in (images.train, images.valid, images.test)] == [1297, 250, 250]
    x = torch.cat([images.train, images.valid, images.test])
    y = torch.cat([images.train_labels, images.valid_labels, images.test_labels])
    assert (x.shape, x.dtype, y.dtype) == ((1797, 1, 8, 8), torch.uint8, torch.int64)
    assert np.array_equal(x.flatten(1).numpy(), pixels[order]) and np.array_equal(y.numpy(), labels[order])
    assert (images.levels, int(x.max())) == (17, 16)
    assert repr(images) == "Images(digits: 1297/250/250 train/valid/test, 8×8, 17 levels, cpu)"


def test_images_move_with_all_their_tensors():
    moved = load("digits", "meta")
    tensors = [x for x in vars(moved).values() if isinstance(x, torch.Tensor)]
    assert len(tensors) == 6 and all(x.device.type == "meta" for x in tensors)
    with pytest.raises(AttributeError):
        moved.levels = 2


# Mean grey value of the 60,000 published training images (0.1307 and 0.2860 of 255), first labels of train and test.
IDX = {"mnist": (33.318421, [5, 0, 4], [7, 2, 1]), "fashion": (72.940352, [9, 0, 0], [9, 2, 1])}


@pytest.mark.parametrize("name", IDX)
def test_idx_sets_are_the_published_ones(name, at_hand):
    mean, first, first_test = IDX[name]
    if not (published := at_hand(name)):
        pixels, labels = standins.digits()
        mean, first, first_test = pixels[:60_000].mean(), list(labels[:3]), list(labels[60_000:60_003])
    images = load(name)
    assert [len(x) for x in (images.train, images.valid, images.test)] == [50_000, 10_000, 10_000]
    assert images.train.shape[1:] == (1, 28, 28) and images.levels == 256
    assert math.isclose(float(torch.cat([images.train, images.valid]).double().mean()), mean, abs_tol=1e-6)
    assert images.train_labels[:3].tolist() == first and images.test_labels[:3].tolist() == first_test
    counts = torch.cat([images.train_labels, images.valid_labels]).bincount()
    assert len(counts) == 10 and (name == "mnist" or not published or (counts == 6000).all())


def test_binarised_mnist_has_the_mean_image_of_mnist(at_hand):
    at_hand("binarized_mnist", "mnist")
    binary, grey = load("binarized_mnist"), load("mnist")
    assert [len(x) for x in (binary.train, binary.valid, binary.test)] == [50_000, 10_000, 10_000]
    assert binary.train_labels is None and binary.levels == 2 and binary.train.unique().tolist() == [0, 1]
    # Each pixel of MNIST's 70,000 images was drawn once from its grey value: the mean images agree to sampling error.
    ours = torch.cat([binary.train, binary.valid, binary.test]).double().mean(0)
    theirs = torch.cat([grey.train, grey.valid, grey.test]).double().mean(0) / 255
    error = (ours - theirs) / (theirs * (1 - theirs) / 70_000).sqrt().clamp_min(1e-3)
    assert float(error.abs().max()) < 5.5
    assert float((ours.mT - theirs).abs().max()) > 0.1  # transposed images would not pass


def test_subset_is_a_sample_without_replacement():
    x = torch.arange(50)
    drawn = subset(x, 20, generator=rng())
    assert len(drawn.unique()) == 20 and set(drawn.tolist()) <= set(range(50)) and drawn.tolist() != list(range(20))
    assert torch.equal(drawn, subset(x, 20, generator=rng())) and sorted(subset(x, 50).tolist()) == list(range(50))


def test_importing_the_module_imports_neither_scikit_learn_nor_pooch():
    code = "import sys, dgmlib.data; print([m for m in ('sklearn', 'pooch', 'requests', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- files ----------------------------------------------------------------------------------------------------------

CONTENT = b"".join((b"0 " * 391 + b"1 " * 392 + b"0\n") for _ in range(3))


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves `served`, and nothing after the half of it once `served` is cut short."""

    served: bytes | None

    def do_GET(self):
        self.send_response(404 if self.served is None else 200)
        body = self.served or b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path.startswith("/cut/") else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGMLIB_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    for form, content in ((".amat", CONTENT), (".amat.gz", gzip.compress(CONTENT, mtime=0))):
        for split in ("train", "valid", "test"):
            key = f"binarized-mnist/binarized_mnist_{split}{form}"
            monkeypatch.setitem(data.SHA256, key, hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(data.MIRRORS, "binarized-mnist", ())
    return tmp_path / "cache" / "binarized-mnist"


@pytest.fixture
def mirror(cache, monkeypatch):
    """A mirror on this machine; `mirror(served, folder)` sets what it serves and in which folder the library looks."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Mirror,), {"served": None}))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def serve(served, *folders):
        server.RequestHandlerClass.served = served
        urls = tuple(f"http://127.0.0.1:{server.server_port}/{folder}/" for folder in folders)
        monkeypatch.setitem(data.MIRRORS, "binarized-mnist", urls)

    yield serve
    server.shutdown()
    server.server_close()


def put(cache, content, form=".amat", splits=("train", "valid", "test")):
    cache.mkdir(parents=True, exist_ok=True)
    for split in splits:
        (cache / f"binarized_mnist_{split}{form}").write_bytes(content)


def assert_images():
    images = load("binarized_mnist")
    assert images.train.shape == (3, 1, 28, 28)
    assert images.test.flatten(1)[2].tolist() == [0] * 391 + [1] * 392 + [0]


@pytest.mark.parametrize("form, pack", [(".amat", bytes), (".amat.gz", functools.partial(gzip.compress, mtime=0))])
def test_files_in_the_cache_are_read_packed_or_not_without_a_mirror(cache, form, pack):
    assert not data.cached("binarized_mnist")
    put(cache, pack(CONTENT), form)
    assert data.cached("binarized_mnist")
    cache.chmod(0o555)
    assert_images()
    assert len(list(cache.iterdir())) == 3


def test_a_tilde_in_the_cache_folder_is_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DGMLIB_DATA", "~/pictures")
    assert data._cache() == tmp_path / "pictures"


def test_an_unpacked_idx_file_is_as_good(tmp_path, monkeypatch):
    monkeypatch.setenv("DGMLIB_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    for split, n in (("train", 60_000), ("t10k", 10_000)):
        for kind, header, size in (("images-idx3", 16, 784), ("labels-idx1", 8, 1)):
            content, key = bytes(header) + bytes(n * size), f"mnist/{split}-{kind}-ubyte"
            (tmp_path / key).write_bytes(content)
            assert key in data.SHA256
            monkeypatch.setitem(data.SHA256, key, hashlib.sha256(content).hexdigest())
    assert data.cached("mnist")
    assert load("mnist").test.shape == (10_000, 1, 28, 28)


def test_every_mirror_is_reached_by_https():
    assert all(url.startswith("https://") for urls in data.MIRRORS.values() for url in urls)


def test_missing_files_are_downloaded_once_from_the_first_mirror_that_serves_them(cache, mirror):
    mirror(CONTENT, "cut", "whole")
    assert_images()
    mirror(None)
    assert_images()
    assert sorted(p.name for p in cache.iterdir()) == [f"binarized_mnist_{s}.amat" for s in ("test", "train", "valid")]


@pytest.mark.parametrize("form", [".amat", ".amat.gz"])
@pytest.mark.parametrize("damage", [CONTENT[:-100], b"", CONTENT[:-1] + b" "], ids=["truncated", "empty", "flipped"])
def test_a_corrupt_file_is_named_and_replaced(cache, mirror, damage, form):
    put(cache, CONTENT)
    (cache / "binarized_mnist_valid.amat").unlink()
    put(cache, damage, form, ["valid"])
    mirror(CONTENT, "whole")
    found = hashlib.sha256(damage).hexdigest()
    with pytest.warns(UserWarning, match=rf"valid{form} is corrupt \(sha256 {found}, expected .*downloaded again from"):
        assert_images()
    assert_images()


@pytest.mark.parametrize("served, reason", [(None, "HTTPError"), (CONTENT[:-2], "wrong checksum")])
def test_what_no_mirror_can_mend_is_said_in_one_sentence_and_nothing_is_lost(cache, mirror, served, reason):
    put(cache, CONTENT[:-100])
    mirror(served, "one", "two")
    with pytest.raises(OSError) as refusal:
        load("binarized_mnist")
    sentence = str(refusal.value)
    expected = data.SHA256["binarized-mnist/binarized_mnist_train.amat"]
    found = hashlib.sha256(CONTENT[:-100]).hexdigest()
    assert sentence.startswith(f"{cache}/binarized_mnist_train.amat is corrupt (sha256 {found}, expected {expected});")
    assert "\n" not in sentence and sentence.count(f"binarized_mnist_train.amat ({reason})") == 2
    assert {p.read_bytes() for p in cache.iterdir()} == {CONTENT[:-100]} and len(list(cache.iterdir())) == 3


def test_no_mirror_reached_is_one_sentence_with_file_folder_and_mirrors(cache, monkeypatch):
    monkeypatch.setitem(data.MIRRORS, "binarized-mnist", ("http://127.0.0.1:9/",))  # the discard port: nobody listens
    with pytest.raises(OSError) as refusal:
        load("binarized_mnist")
    expected = data.SHA256["binarized-mnist/binarized_mnist_train.amat"]
    assert str(refusal.value) == (
        f"{cache}/binarized_mnist_train.amat is missing; put a file with sha256 {expected} in its place, since no "
        "mirror gave it: http://127.0.0.1:9/binarized_mnist_train.amat (ConnectionError)"
    )


def test_a_full_disk_is_said_and_leaves_no_file(cache, mirror):
    mirror(CONTENT, "whole", "whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, limits[1]))
    try:
        with pytest.raises(
            OSError, match=rf"train\.amat is missing, and http.* cannot be saved in {cache}: File too large"
        ):
            load("binarized_mnist")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(cache.iterdir()) == []
    assert_images()


# --- minibatches ----------------------------------------------------------------------------------------------------


def drawn(batches, n):
    return [next(batches)[0].tolist() for _ in range(n)]


@pytest.mark.parametrize("rows, size", [(12, 4), (11, 4), (7, 7), (5, 1)])
def test_every_epoch_holds_every_row_once_in_a_fresh_order(rows, size):
    batches = drawn(Batches(torch.arange(rows), batch_size=size, generator=rng()), 3 * rows)
    assert all(len(batch) == size for batch in batches)
    stream = list(itertools.chain(*batches))
    epochs = [stream[i : i + rows] for i in range(0, 3 * size * rows, rows)]
    assert all(sorted(epoch) == list(range(rows)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs[:10]}) > 1
    afresh = Batches(torch.arange(rows), batch_size=size, generator=rng())
    seen = [set(itertools.chain(*drawn(afresh, n))) for n in (len(afresh) - 1, 1)]
    assert len(seen[0]) < rows and seen[0] | seen[1] == set(range(rows))


def test_permutations_are_uniform():
    # 6 orders of 3 rows, 3000 epochs: chi-square at level 1e-7.
    stream = torch.tensor(drawn(Batches(torch.arange(3), batch_size=3, generator=rng(1)), 3000))
    counts = (stream @ torch.tensor([9, 3, 1])).unique(return_counts=True)[1]
    assert len(counts) == 6 and scipy.stats.chisquare(counts).pvalue > 1e-7


def test_tensors_keep_their_rows_together():
    x = torch.arange(10)
    for a, b in (next(batches) for batches in [Batches(x, x * x, batch_size=4)] for _ in range(6)):
        assert torch.equal(a * a, b)


def test_order_is_owed_to_the_seed_alone():
    a, b, c = (Batches(torch.arange(50), batch_size=8, generator=rng(seed)) for seed in (0, 0, 1))
    first = drawn(a, 20)
    torch.randn(100)
    assert first == drawn(b, 20) != drawn(c, 20)
    generator = rng(0)
    one, two = (Batches(torch.arange(50), batch_size=8, generator=generator) for _ in range(2))
    assert drawn(one, 20) == first != drawn(two, 20)


@pytest.mark.parametrize("done", [0, 1, 5, 6, 13])
def test_resumed_batches_are_those_that_would_have_come(done):
    whole = Batches(torch.arange(11), batch_size=4, generator=rng())
    drawn(whole, done)
    state = pickle.loads(pickle.dumps(whole.state_dict()))
    resumed = Batches(torch.arange(11), batch_size=4, generator=rng(7))
    drawn(resumed, 3)
    resumed.load_state_dict(state)
    assert drawn(resumed, 9) == drawn(whole, 9)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_each_batch(monkeypatch, world):
    alone = drawn(Batches(torch.arange(11), batch_size=4, generator=rng()), 9)
    parts = []
    for rank in range(world):
        monkeypatch.setattr(core, "data_parallel", lambda rank=rank: (rank, world))
        parts.append(drawn(Batches(torch.arange(11), batch_size=4, generator=rng()), 9))
    assert [list(itertools.chain(*batch)) for batch in zip(*parts, strict=True)] == alone


def test_batches_refuse_what_they_cannot_draw_from(untyped):
    x = torch.arange(10)
    for call, error, sentence in (
        (lambda: Batches(batch_size=2), TypeError, "tensors is empty"),
        (lambda: Batches([1, 2], batch_size=2), TypeError, r"tensors\[0\] is a list"),
        (lambda: Batches(x, x[:9], batch_size=2), ValueError, "tensors have rows 10 on cpu, 9 on cpu"),
        (
            lambda: Batches(torch.ones(()), batch_size=1),
            ValueError,
            "tensors holds a single number",
        ),
        (lambda: Batches(x[:0], batch_size=1), ValueError, r"tensors\[0\] has shape \(0,\)"),
        (lambda: Batches(x, batch_size=11), ValueError, r"batch_size is 11, expected a number in \[1, 10\]"),
        (lambda: Batches(x, batch_size=2.0), TypeError, "batch_size is 2.0, expected an int"),
    ):
        with pytest.raises(error, match=f"^{sentence}"):
            call()
    state = Batches(x, batch_size=2).state_dict()
    with pytest.raises(ValueError, match=r"^state has rows 10, expected 9"):
        Batches(x[:9], batch_size=2).load_state_dict(state)
    with pytest.raises(ValueError, match=r"^state has batch_size 2, expected 3"):
        Batches(x, batch_size=3).load_state_dict(state)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_cuda_batches_are_those_of_the_cpu():
    there, here = Batches(torch.arange(11).cuda(), batch_size=4), Batches(torch.arange(11), batch_size=4)
    there.load_state_dict(here.state_dict())
    assert drawn(there, 9) == drawn(here, 9) and next(there)[0].is_cuda


# --- grey levels to real numbers ------------------------------------------------------------------------------------


@pytest.fixture(params=["smallest", "largest", "random"])
def noise(request, monkeypatch):
    """Uniform draws at either end of what torch.rand can return, and ordinary ones."""
    if request.param != "random":
        u = {"smallest": lambda eps: 0.0, "largest": lambda eps: 1 - eps / 2}[request.param]
        monkeypatch.setattr(
            torch, "rand", lambda shape, dtype, **_: torch.full(shape, u(torch.finfo(dtype).eps), dtype=dtype)
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dequantised_values_stay_in_their_bin_for_every_number_of_levels(noise, dtype):
    torch.set_default_dtype(dtype)
    try:
        naive_fails = 0
        for levels in range(2, 257):
            x = torch.arange(levels, dtype=torch.uint8)
            y = dequantize(x, levels, generator=rng(levels))
            assert y.dtype == dtype and float(y.max()) < 1 and float(y.min()) >= 0
            assert torch.equal((levels * y).floor(), x.to(dtype)), levels
            naive = (x + torch.rand(x.shape, dtype=dtype)) / levels
            naive_fails += int(((levels * naive).floor() != x).any())
            assert float((y - naive).abs().max()) <= 1 / levels
    finally:
        torch.set_default_dtype(torch.float32)
    if dtype == torch.float32 and float(torch.rand((1,), dtype=dtype)) in (0.0, 1 - 2**-24):
        assert naive_fails > 0  # what plain (x + u) / levels does


def test_dequantised_values_are_uniform_in_their_bin():
    # Kolmogorov-Smirnov on 20,000 draws at level 1e-7, for one grey value.
    y = dequantize(torch.full((20_000,), 11, dtype=torch.uint8), 17, generator=rng())
    assert scipy.stats.kstest((17 * y - 11).double().numpy(), "uniform").pvalue > 1e-7
    assert scipy.stats.kstest((17 * y - 11).double().numpy() ** 1.1, "uniform").pvalue < 1e-7
    assert torch.equal(y, dequantize(torch.full((20_000,), 11, dtype=torch.uint8), 17, generator=rng()))


def test_dequantised_density_of_the_uniform_law_costs_log_levels_a_pixel():
    # The uniform density on [0, 1)^d is the image of the uniform mass: log P = -d log levels exactly.
    x = load("digits").test
    y = dequantize(x, 17, generator=rng())
    log_density = torch.zeros(len(y), dtype=torch.float64)  # of the uniform density
    bound = log_density - y[0].numel() * math.log(17)
    assert torch.allclose(bound, torch.full_like(bound, 64 * math.log(1 / 17)), atol=1e-12)


def test_dequantize_refuses_other_values(untyped):
    x = torch.tensor([[3, 17]], dtype=torch.uint8)
    for call, error, sentence in (
        (lambda: dequantize(x, 17), ValueError, "x has values from 3 to 17, expected whole numbers from 0 to 16"),
        (lambda: dequantize(x.float(), 18), TypeError, "x has dtype torch.float32, expected torch.uint8"),
        (lambda: dequantize(x.long(), 18), TypeError, "x has dtype torch.int64, expected torch.uint8"),
        (lambda: dequantize(x, 257), ValueError, r"levels is 257, expected a number in \[2, 256\]"),
        (lambda: dequantize([3], 18), TypeError, "x is a list"),
        (lambda: dequantize(x[:0], 18), ValueError, "x has shape"),
    ):
        with pytest.raises(error, match=f"^{sentence}"):
            call()


ALPHAS = [1e-6, 0.05, 0.3]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_logit_log_dets_are_those_of_the_autograd_jacobians(alpha):
    logit = Logit(alpha)
    x = torch.rand(5, 1, 2, 3, generator=rng(), dtype=torch.float64)
    x[0, 0, 0] = torch.tensor([0.0, 1.0, 0.5])
    z, log_det = logit.forward(x)
    back, log_det_back = logit.inverse(z)
    assert torch.allclose(back, x, atol=1e-9, rtol=0) and torch.allclose(log_det_back, -log_det, atol=1e-9, rtol=0)
    for i in range(len(x)):
        for apply, point, found in ((logit.forward, x[i], log_det[i]), (logit.inverse, z[i], log_det_back[i])):
            jacobian = torch.autograd.functional.jacobian(lambda v, apply=apply: apply(v[None])[0][0], point)
            sign, truth = torch.linalg.slogdet(jacobian.reshape(6, 6))
            assert sign == 1 and math.isclose(found, truth, rel_tol=1e-9, abs_tol=1e-9)
            assert not math.isclose(-found, truth, abs_tol=1e-2) and not math.isclose(found / 6, truth, abs_tol=1e-2)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_logit_is_the_scaled_logit_and_each_pixel_its_own(alpha):
    x = torch.rand(4, 3, generator=rng(), dtype=torch.float64)
    z, log_det = Logit(alpha).forward(x)
    assert np.allclose(z, scipy.special.logit(alpha + (1 - 2 * alpha) * x.numpy()), atol=1e-8)
    jacobian = torch.autograd.functional.jacobian(lambda v: Logit(alpha).forward(v[None])[0][0], x[0])
    assert torch.equal(jacobian, jacobian.diagonal().diag())
    assert log_det.shape == (4,) and Logit(alpha).forward(x[:, 0])[1].shape == (4,)
    assert torch.allclose(Logit(alpha).forward(x[1:2])[1], log_det[1:2], rtol=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_logit_keeps_its_digits_at_the_ends(alpha, dtype, tolerance):
    x = torch.tensor([[0.0, 1.0, torch.finfo(dtype).tiny, 1 - torch.finfo(dtype).eps]], dtype=dtype, requires_grad=True)
    z, log_det = Logit(alpha).forward(x)
    end = math.log(1 - alpha) - math.log(alpha)
    assert z.dtype == log_det.dtype == dtype
    assert np.allclose(z.detach()[0, :2], [-end, end], rtol=2 * tolerance)  # log(1 - s) would lose half of them
    (z.sum() + log_det.sum()).backward()
    assert x.grad.isfinite().all()
    far = torch.tensor([[-1e4, -200.0, 200.0, 1e4]], dtype=dtype, requires_grad=True)
    back, log_det = Logit(alpha).inverse(far)
    edge = alpha / (1 - 2 * alpha)
    assert np.allclose(back.detach()[0], [-edge, -edge, 1 + edge, 1 + edge], atol=tolerance)
    assert math.isclose(log_det.item(), -20400 - 4 * math.log(1 - 2 * alpha), rel_tol=1e-5)
    (back.sum() + log_det.sum()).backward()
    assert far.grad.isfinite().all()


def test_logit_refuses_what_is_outside_its_domain(untyped):
    logit = Logit(0.1)
    for call, error, sentence in (
        (lambda: Logit(0.0), ValueError, r"alpha is 0.0, expected a number in \(0, 0.5\)"),
        (lambda: Logit(0.5), ValueError, "alpha is 0.5"),
        (
            lambda: logit.forward(torch.tensor([[0.5, 1.01]])),
            ValueError,
            "x has values from 0.5 to 1.01, expected all in",
        ),
        (lambda: logit.forward(torch.tensor([[-0.01]])), ValueError, "x has values from -0.01"),
        (lambda: logit.forward(torch.tensor([[math.nan]])), ValueError, "x has values from nan"),
        (lambda: logit.forward(torch.ones(2, 2, dtype=torch.uint8)), TypeError, "x has dtype torch.uint8"),
        (lambda: logit.inverse([0.0]), TypeError, "z is a list"),
    ):
        with pytest.raises(error, match=f"^{sentence}"):
            call()


# --- densities in the plane -----------------------------------------------------------------------------------------

PLANE = {f.__name__: f for f in (data.ring, data.grid, data.checkerboard, data.moons, data.spirals, data.target)}
each_density = pytest.mark.parametrize("density", [f() for f in PLANE.values()], ids=PLANE)

EDGE, CELLS, FINE = 5.0, 20, 20  # a square around all of them; cells of it; midpoints a cell and axis


def cell_masses(density):
    """The mass of each cell, by the midpoint rule on a grid whose lines include the checkerboard's."""
    step = 2 * EDGE / (CELLS * FINE)
    axis = torch.arange(CELLS * FINE, dtype=torch.float64) * step + step / 2 - EDGE
    p = torch.cat([density.log_prob(x).exp() for x in torch.cartesian_prod(axis, axis).split(20_000)])
    return p.view(CELLS, FINE, CELLS, FINE).sum((1, 3)) * step**2


@each_density
def test_density_integrates_to_one_and_its_sampler_draws_from_it(density):
    masses = cell_masses(density)
    outside = 1 - float(masses.sum())
    assert abs(outside) < 1e-5
    n = 40_000
    x = density.sample(n, generator=rng())
    assert (x.shape, x.dtype) == ((n, 2), torch.float64)
    cell = ((x + EDGE) / (2 * EDGE / CELLS)).floor().clamp(0, CELLS - 1).long()
    counts = (cell[:, 0] * CELLS + cell[:, 1]).bincount(minlength=CELLS**2).double()

    def p_value(counts):  # cells that expect fewer than 10 are taken together
        expected = n * masses.flatten()
        rare = expected < 10
        expected = torch.cat([expected[~rare], expected[rare].sum()[None] + n * outside])
        observed = torch.cat([counts[~rare], counts[rare].sum()[None]])
        if (observed[expected < 1e-9] > 0).any():
            return 0.0
        statistic = ((observed - expected).square() / expected.clamp_min(1e-9)).sum()
        return scipy.stats.chi2.sf(float(statistic), len(expected) - 1)

    assert p_value(counts) > 1e-7
    moved = ((x + 0.02 + EDGE) / (2 * EDGE / CELLS)).floor().clamp(0, CELLS - 1).long()
    moved = (moved[:, 0] * CELLS + moved[:, 1]).bincount(minlength=CELLS**2).double()
    assert p_value(moved) < 1e-7  # a shift by a fiftieth does not pass


@each_density
def test_score_is_the_gradient_of_the_log_density(density):
    x = density.sample(200, generator=rng(1)).requires_grad_()
    log_prob = density.log_prob(x)
    assert log_prob.shape == (200,) and log_prob.dtype == torch.float64 and log_prob.isfinite().all()
    gradient = torch.autograd.grad(log_prob.sum(), x)[0] if log_prob.requires_grad else torch.zeros_like(x)
    assert torch.allclose(density.score(x), gradient, atol=1e-9, rtol=1e-9)
    assert torch.allclose(density.log_prob(x)[:3], density.log_prob(x[:3]), rtol=1e-12)


@each_density
def test_density_lies_in_the_square_that_figures_show(density):
    x = density.sample(20_000, generator=rng(2))
    assert float(((x.abs() <= 4).all(1)).double().mean()) > 0.999
    assert torch.equal(x, density.sample(20_000, generator=rng(2)))


def test_checkerboard_is_flat_on_dark_squares_and_nothing_elsewhere():
    board = data.checkerboard()
    x = torch.tensor([[-3.0, -3.0], [-1.0, -3.0], [1.0, 1.0], [1.0, 3.0], [-4.0, -4.0], [4.0, 4.0], [-5.0, -5.0]])
    inside = -math.log(32)
    assert board.log_prob(x).tolist() == [inside, -math.inf, inside, -math.inf, inside, -math.inf, -math.inf]
    assert float(board.score(x).abs().max()) == 0


def test_the_plane_s_densities_have_the_sizes_they_promise():
    sizes = {name: len(getattr(data, name)().means) for name in ("ring", "grid", "moons", "spirals", "target")}
    assert sizes == {"ring": 8, "grid": 25, "moons": 48, "spirals": 160, "target": 8}


def test_target_has_the_shape_it_promises():
    target = data.target()
    assert math.isclose(float(target.weights.sum()), 1, abs_tol=1e-12)
    assert (target.weights.diff() < 0).all()
    deviations = torch.linalg.eigvalsh(target.covs).sqrt()
    assert torch.allclose(deviations, torch.tensor([[0.2, 0.42]] * 7 + [[0.25, 0.25]], dtype=torch.float64))
    # The dot is isolated: on the straight line to the stem's end the density falls below a hundredth of the dot's.
    line = torch.stack([torch.zeros(200), torch.linspace(-2.8, -0.55, 200)], 1).double()
    p = target.log_prob(line).exp()
    assert float(p.min()) < 0.01 * float(p[0])
    # The ridge is one piece: along the arc and the stem the density never falls below a tenth of its mean there.
    ridge = torch.cat(
        [a + (b - a) * torch.linspace(0, 1, 50)[:, None] for a, b in itertools.pairwise(target.means[:7])]
    )
    p = target.log_prob(ridge).exp()
    assert float(p.min()) > 0.1 * float(p.mean())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@pytest.mark.parametrize("density", PLANE.values(), ids=PLANE)
def test_cuda_densities_agree_with_the_cpu(density):
    there, here = density(device="cuda"), density()
    x = there.sample(100, generator=torch.Generator("cuda").manual_seed(0))
    assert x.is_cuda and torch.allclose(there.log_prob(x).cpu(), here.log_prob(x.cpu()), rtol=1e-9)
    assert torch.allclose(there.score(x).cpu(), here.score(x.cpu()), rtol=1e-9, atol=1e-9)


def test_densities_refuse_what_makes_no_density(untyped):
    board = data.checkerboard()
    for call, error, sentence in (
        (lambda: data.ring(0), ValueError, "k is 0"),
        (lambda: data.grid(2.5), TypeError, "k is 2.5"),
        (lambda: data.moons(0.0), ValueError, "std is 0.0"),
        (lambda: data.spirals(-1.0), ValueError, "std is -1.0"),
        (lambda: board.log_prob(torch.ones(3, 3)), ValueError, r"x has shape \(3, 3\), expected \(3, 2\)"),
        (lambda: board.log_prob(torch.full((1, 2), math.nan)), ValueError, "x has 2 NaN or infinite values"),
        (lambda: board.score(torch.ones(2)), ValueError, r"x has shape \(2,\), expected 2 axes"),
        (lambda: board.sample(0), ValueError, "n is 0"),
        (lambda: load("cifar"), ValueError, "name is 'cifar', expected one of 'digits', 'mnist'"),
        (lambda: data.cached("cifar"), ValueError, "name is 'cifar'"),
        (lambda: subset(torch.ones(3), 4), ValueError, r"n is 4, expected a number in \[1, 3\]"),
    ):
        with pytest.raises(error, match=f"^{sentence}"):
            call()
