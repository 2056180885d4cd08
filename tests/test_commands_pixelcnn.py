"""python -m dgmlib.pixelcnn: trained, judged, saved, resumed."""

import json

from commands import cut_short, files

from dgmlib.commands import pixelcnn as command


def arguments(folder, *more):
    small = ["--data", "digits", "--features", "6", "--depth", "2", "--kernel", "3", "--epochs", "1.5", "--lr", "0.02"]
    return [*small, *files(folder), *more]


def test_main_trains_measures_draws_and_resumes_to_the_same_end(tmp_path):
    ends = []
    for folder in (tmp_path / "whole", tmp_path / "stopped"):
        folder.mkdir()
        if folder.name == "stopped":
            cut_short(command.main, arguments(folder))
        command.main(arguments(folder))
        result = json.loads((folder / "t.json").read_text())
        assert (folder / "t.png").stat().st_size > 5000
        ends.append(result["ours"])
    assert ends[0] == ends[1] and 80 < ends[0] < 150  # uniform levels: 181.3
    assert result["command"].startswith("python -m dgmlib.pixelcnn --data digits")
