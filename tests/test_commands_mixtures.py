"""python -m dgmlib.mixtures: trained, judged, saved, resumed."""

import json

from dgmlib.commands import mixtures as command


def test_the_command_resumes_to_the_same_numbers(tmp_path):
    def run(name, steps):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        arguments = f"--data digits --components 5 --steps {steps} --name coins --out {out} --allow-dirty".split()
        command.main([*arguments, "--checkpoint", str(out / "coins.safetensors")])
        return json.loads((out / "coins.json").read_text())

    whole = run("whole", 20)
    run("parts", 10)
    resumed = run("parts", 20)
    assert whole["ours"] == resumed["ours"]
    assert 15 < whole["ours"] < 25 and whole["minutes"]["wall"] >= 0  # 64 independent coins: 25 nats or more
    assert (tmp_path / "whole" / "coins.png").stat().st_size > 1000
