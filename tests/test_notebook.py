"""What a reader touches: the run, diagnosis, shown source."""

import ast
import inspect
import io
import math
import textwrap
from base64 import b64decode
from functools import partialmethod
from unittest import mock

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
import tqdm.auto
import tqdm.std
from kernel import Kernel
from nbclient import NotebookClient
from PIL import Image

from dgmlib import bugs, divergences, notebook
from dgmlib.bugs import Bug, Subject
from dgmlib.notebook import Run, diagnose, setup, show_source, source_markdown


@pytest.fixture(autouse=True)
def unchanged():
    """`setup` changes figure defaults and progress bars for the process; give them back."""
    with (
        plt.rc_context(),
        mock.patch.object(tqdm.std.tqdm, "__init__", tqdm.std.tqdm.__init__),
        mock.patch.object(tqdm.auto.tqdm, "__init__", tqdm.auto.tqdm.__init__),
    ):
        yield
    plt.close("all")


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


# --- the run --------------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch):
    def set_to(**values):
        for name in ("DGM_BUDGET", "DGM_SEED", "DGM_STATIC"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_to


def test_setup_reads_the_environment_and_prints_nothing(environment, capsys):
    environment()
    assert setup() == Run(torch.device("cpu"), "cpu", 0)
    environment(DGM_BUDGET="smoke", DGM_SEED="7")
    run = setup()
    assert (run.budget, run.seed, run.device.type) == ("smoke", 7, "cpu")
    assert run.pick(smoke=1, cpu=2, gpu=3) == 1
    assert capsys.readouterr() == ("", "")


def test_the_gpu_budget_takes_cuda_when_there_is_one(environment, monkeypatch):
    environment(DGM_BUDGET="gpu")
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert setup().device.type == device


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_generators_live_on_the_runs_device(environment):
    environment(DGM_BUDGET="gpu")
    run = setup()
    assert run.generator().device.type == "cuda"
    assert torch.equal(*(torch.randn(5, generator=run.generator(1), device="cuda") for _ in range(2)))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DGM_BUDGET", "full", "'smoke', 'cpu', 'gpu'"),
        ("DGM_BUDGET", "", "'smoke', 'cpu', 'gpu'"),
        ("DGM_SEED", "-1", "a non-negative int"),
        ("DGM_SEED", "1.5", "a non-negative int"),
        ("DGM_SEED", str(2**64), "a non-negative int"),
    ],
)
def test_a_bad_variable_is_named(environment, name, value, expected):
    environment(**{name: value})
    with pytest.raises(ValueError, match=f"{name} is '{value}', expected .*{expected}"):
        setup()


def test_setup_seeds_the_global_generator_and_leaves_the_default_dtype(environment):
    environment(DGM_SEED="3")
    setup()
    first = torch.rand(4)
    setup()
    assert torch.equal(first, torch.rand(4)) and first.dtype == torch.float32


def test_streams_are_reproducible_and_differ():
    run = Run(torch.device("cpu"), "cpu", 0)
    draws = [torch.rand(8, generator=g) for g in (run.generator(), run.generator(), run.generator(1))]
    draws.append(torch.rand(8, generator=Run(torch.device("cpu"), "gpu", 1).generator(0, device="cpu")))
    assert torch.equal(draws[0], draws[1])
    assert len({tuple(draw.tolist()) for draw in draws}) == 3  # seed 0 stream 1 is not seed 1 stream 0
    with pytest.raises(ValueError, match="stream is -1"):
        run.generator(-1)


def test_bars_are_silent_only_in_the_book(environment, monkeypatch, capsys):
    for bar in (
        tqdm.std.tqdm,
        tqdm.auto.tqdm,
    ):  # as they are without TQDM_DISABLE, which tqdm reads when it is imported
        monkeypatch.setattr(bar, "__init__", partialmethod(bar.__init__, disable=False))
    environment()
    setup()
    list(tqdm.std.tqdm(range(2)))
    assert "2/2" in capsys.readouterr().err
    environment(DGM_STATIC="1")
    setup()
    list(tqdm.std.tqdm(range(2)))
    list(tqdm.auto.tqdm(range(2)))
    assert capsys.readouterr() == ("", "")


def test_a_notebook_stores_palette_figures():
    cells = [
        "from dgmlib.notebook import setup\nrun = setup()",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
        "plt.plot([1, 2]);",
    ]
    ran = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    NotebookClient(ran, timeout=120, kernel_name="python3", kernel_manager_class=Kernel).execute()
    first, shown, left = (cell.outputs for cell in ran.cells)
    assert not first
    assert len(shown) == len(left) == 1
    image = Image.open(io.BytesIO(b64decode(shown[0].data["image/png"])))
    assert image.mode == "P" and image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert shown[0].data == left[0].data


# --- which mistake is mine? -----------------------------------------------------------------------------------------


def doubled(x):
    return 2 * x.sum(1)


@pytest.fixture
def museum(monkeypatch):
    probes = ((t([1.0, 2.0], [3.0, 4.0]),), (t([0.0, 0.5]),))
    told = {"name": "one too many", "symptom": "never zero", "place": "the constant", "cure": "subtract it."}
    shifted = Bug("shifted", "One too many.", lambda x: 2 * x.sum(1) + 1, **told)
    mean = Bug("E0-1", "Averaged", lambda x: x.mean(1), **told | {"cure": "double the sum"})
    subjects = {"doubled": Subject("doubled", doubled, probes, (shifted, mean))}
    monkeypatch.setattr(bugs, "subjects", lambda: subjects)
    return subjects["doubled"]


def spoiled(x):
    x *= 2
    return x.sum(1)


@pytest.mark.parametrize(
    ("function", "verdict", "sentence"),
    [
        (lambda x: x.sum(1) + x.sum(1), "right", "is right."),
        (spoiled, "right", "is right."),  # writes into its argument
        (lambda x: doubled(x.float()), "right", "is right."),  # within single precision
        (lambda x: 2 * x.sum(1) + 1, "known bug", "equals the known mistake shifted: One too many. Cure: subtract it."),
        (lambda x: x.float().mean(1), "known bug", "equals the known mistake E0-1: Averaged. Cure: double the sum."),
        (lambda x: doubled(x) / math.log(2), "unknown", "is 1.4427 × the right value: bits for nats?"),
        (lambda x: -doubled(x), "unknown", "is -1 × the right value: the sign is wrong."),
        (lambda x: doubled(x) * 3, "unknown", "is 3 × the right value."),
        (lambda x: 1e-3 * doubled(x) + 1e-5 * x.sum(1) ** 2, "unknown", "is off by up to "),  # no one ratio
        (lambda x: doubled(x) - 0.5, "unknown", "is the right value -0.5."),
        (lambda x: doubled(x) ** 2, "unknown", "is off by up to 182, and equals no known mistake."),
        (lambda x: doubled(x).sum(), "unknown", "returns one number where one value per example was expected."),
        (lambda x: doubled(x)[:, None], "unknown", r"returns shape (2, 1) where (2,) was expected."),
        (lambda x: (doubled(x), 0.0), "unknown", "returns 4 results on the probes where 2 were expected."),
        (lambda x: doubled(x) / 0, "unknown", "gives 3 NaN or infinite values where finite ones were expected."),
        (lambda x: x.missing, "error", "raises AttributeError: 'Tensor' object has no attribute 'missing'."),
        (lambda x: None, "error", "raises TypeError: the result is a NoneType, expected a number or a tensor."),
        (lambda: None, "error", "raises TypeError: "),
    ],
)
def test_diagnose_names_the_mistake(museum, capsys, function, verdict, sentence):
    diagnosis = diagnose("doubled", function)
    assert diagnosis.verdict == verdict
    assert capsys.readouterr().out.startswith(f"doubled: your function {sentence}")
    assert (diagnosis.bug is not None) == (verdict == "known bug")
    assert torch.equal(museum.probes[0][0], t([1.0, 2.0], [3.0, 4.0]))


@pytest.mark.parametrize(
    ("tell", "sentence"),
    [
        ("symptom", "equals a known mistake. Symptom: never zero."),
        ("place", "equals a known mistake. Place: the constant."),
        ("cure", "equals a known mistake. Cure: subtract it."),
        ("all", "equals the known mistake shifted: One too many. Cure: subtract it."),
    ],
)
def test_diagnose_tells_one_thing_at_a_time(museum, capsys, tell, sentence):
    assert diagnose("doubled", lambda x: 2 * x.sum(1) + 1, tell=tell).bug.id == "shifted"
    assert diagnose("doubled", doubled, tell=tell).verdict == "right"
    assert capsys.readouterr().out == f"doubled: your function {sentence}\ndoubled: your function is right.\n"


def test_diagnose_sees_a_result_that_is_missing(monkeypatch, capsys):
    pair = Subject("pair", lambda x: (x, x), ((1.0,),), ())
    monkeypatch.setattr(bugs, "subjects", lambda: {"pair": pair})
    assert diagnose("pair", lambda x: x).verdict == "unknown"
    assert "returns 1 results on the probes where 2 were expected" in capsys.readouterr().out


def test_diagnose_knows_where_infinity_is_right(monkeypatch, capsys):
    subjects = {"log": Subject("log", torch.log, ((t(0.0, 2.0, 3.0),),), ())}
    monkeypatch.setattr(bugs, "subjects", lambda: subjects)
    for function in (torch.log, torch.log2, lambda x: x.clamp(min=0.1).log()):
        diagnose("log", function)
    assert capsys.readouterr().out.splitlines() == [
        "log: your function is right.",
        "log: your function is 1.4427 × the right value: bits for nats?",
        "log: your function is -2.303 where -inf was expected.",
    ]


def test_diagnose_gives_each_call_the_same_noise(monkeypatch, capsys):
    generator = torch.Generator().manual_seed(0)
    draw = lambda n, generator: torch.randn(n, generator=generator, dtype=torch.float64)  # noqa: E731
    monkeypatch.setattr(bugs, "subjects", lambda: {"draw": Subject("draw", draw, ((3, generator),), ())})
    assert diagnose("draw", draw).verdict == diagnose("draw", draw).verdict == "right"


def test_diagnose_refuses_what_it_does_not_know(museum):
    with pytest.raises(ValueError, match="subject is 'tripled', expected one of 'doubled'"):
        diagnose("tripled", doubled)
    with pytest.raises(TypeError, match="function"):
        diagnose("doubled", 3.0)
    with pytest.raises(ValueError, match="tell is 'hint', expected one of 'all', 'symptom', 'place', 'cure'"):
        diagnose("doubled", doubled, tell="hint")


# --- shown source ---------------------------------------------------------------------------------------------------


def documented(x):
    """The first line,
    with what belongs to it.

    Args:
        x: not shown.
    """

    def inner():
        r"""One line."""
        return x

    class Held:
        """First.

        Second.
        """

        kept = 1

    return inner, Held  # a comment


def test_source_is_shown_with_short_docstrings():
    shown = source_markdown(f"{__name__}:documented")
    assert shown == (
        '```python\ndef documented(x):\n    """The first line,\n    with what belongs to it."""\n\n'
        '    def inner():\n        r"""One line."""\n        return x\n\n'
        '    class Held:\n        """First."""\n\n        kept = 1\n\n    return inner, Held  # a comment\n```'
    )


SHOWN = [name for name, held in vars(divergences).items() if getattr(held, "__module__", "") == divergences.__name__]


@pytest.mark.parametrize("name", [name for name in SHOWN if name[0].islower()])
def test_what_is_shown_is_the_code_that_runs(name):
    function = getattr(divergences, name)
    body = source_markdown(f"dgmlib.divergences:{name}").removeprefix("```python\n").removesuffix("\n```")
    whole = (ast.parse(textwrap.dedent(inspect.getsource(function))), ast.parse(body))
    without = [ast.dump(ast.Module([*tree.body[0].body[1:], tree.body[0].args], [])) for tree in whole]
    assert without[0] == without[1]


def test_shown_source_names_itself(monkeypatch):
    shown = mock.Mock()
    monkeypatch.setattr(notebook, "display", shown)
    show_source(notebook.Run.pick)
    source = "dgmlib.notebook:Run.pick"
    shown.assert_called_once_with(
        {"text/markdown": source_markdown(source)}, raw=True, metadata={"dgmlib": {"source": source}}
    )
    assert "def pick(self, *, smoke: Any" in source_markdown(source)
    show_source(Run)
    assert shown.call_args.kwargs["metadata"] == {"dgmlib": {"source": "dgmlib.notebook:Run"}}


def test_what_has_no_source_is_refused():
    with pytest.raises(TypeError):
        show_source(3)
    with pytest.raises(AttributeError):
        source_markdown("dgmlib.notebook:nothing")
