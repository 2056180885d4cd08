"""The measured runs, read and shown."""

import json

import pytest

from dgmlib.results import Table, measured, read, told

ROW = {
    "title": "VAE", "model": "VAE 4-2", "parameters": 1234, "data": "digits", "measure": "nats", "ours": 91.5,
    "also": {"-ELBO": 93.25, "units": 3, "of which": "3 of 4", "share": 0.12345}, "table": None, "seed": 0,
    "command": "python -m dgmlib.vae", "commit": "c0ffee", "minutes": {"processor": 2.0, "wall": 3.0},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name, change in {
        "vae": {},
        "vae_seed10": {"seed": 10, "ours": 92.5, "minutes": {"processor": 3.0, "wall": 3.0}},
        "vae_seed2": {"seed": 2, "ours": 90.0, "minutes": {"processor": 4.0, "wall": 3.0}},
        "bits": {"model": "flow", "ours": 1.5, "commit": "c0ffee-dirty"},
        "nowhere": {"model": "flow", "data": "mnist", "commit": None},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(ROW | change))
    return tmp_path


def test_seeds_are_one_run(folder):
    bits, nowhere, vae = read(folder)
    assert (vae.name, vae.values, vae.model) == ("vae", [91.5, 90.0, 92.5], "VAE 4-2")
    assert vae.mean == pytest.approx(274 / 3) and vae.spread == pytest.approx(1.2583057392117916)
    assert vae.result == "91.33 ± 1.26 (seeds 0, 2, 10: 91.50, 90.00, 92.50)" and vae.minutes_of("processor") == "3.0"
    assert bits.result == "1.500 (seed 0)" and bits.spread is None
    assert (vae.clean, bits.clean, nowhere.clean) == (True, False, False)
    with pytest.raises(AttributeError, match="nothing"):
        _ = vae.nothing


def test_a_table_names_each_number(folder):
    text = repr(measured("vae", folder=folder))
    assert text == (
        "VAE 4-2, 1,234 parameters\n    measure: nats\n    result: 91.33 ± 1.26 (seeds 0, 2, 10: 91.50, 90.00, 92.50)\n"
        "    also: -ELBO: 93.25\n        units: 3\n        of which: 3 of 4\n        share: 0.123\n"
        "    processor minutes a seed: 3.0\n    command: python -m dgmlib.vae"
    )
    page = measured("vae", folder=folder)._repr_html_()
    assert page.count("<tr>") == 2 and "<th>result</th>" in page and "-ELBO: 93.25<br>units: 3" in page


def test_what_no_commit_holds_is_told(folder):
    text = repr(measured("bits", "nowhere", folder=folder))
    assert text.count("(seed 0), made from code that no commit holds, so to be measured again") == 2


def test_minutes_that_were_not_noted_are_a_dash(folder):
    (folder / "bits.json").write_text(json.dumps(ROW | {"model": "flow", "minutes": {"processor": 2.0, "wall": None}}))
    assert [read(folder)[0].minutes_of(kind) for kind in ("processor", "wall")] == ["2.0", "–"]


def test_unknown_runs_and_a_missing_folder_are_told(folder):
    with pytest.raises(ValueError, match="names has 'gan', expected names of runs in"):
        measured("vae", "gan", folder=folder)
    assert "lie in book/results of a clone" in repr(measured("vae", folder=folder / "none"))


def test_a_page_escapes_what_it_shows():
    page = Table(["a<b"], [["<script>\nx"]], note="1 < 2")._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;<br>x" in page and "<p>1 &lt; 2</p>" in page


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (0.12345, "0.123"), (-9.5, "-9.500"), (114.62, "114.62"), ("3 of 4", "3 of 4")]
)
def test_numbers_are_told_in_digits_that_mean_something(value, text):
    assert told(value) == text
