"""Valid example calls of every public function and method, a file for each module of dgmlib, for `test_probes.py`.

A file `tests/probes/MODULE.py` has a table `CALLS`: a name, then what to call, valid arguments by name, and for an
argument that is documented to let a probe through, which ("NaN", "infinite", …; all probes are in `test_probes.py`):

    CALLS = {
        "kl_divergence": (divergences.kl_divergence, {"p": P, "q": Q}),
        "Circle.log_prob": (worlds.Circle(0.3).log_prob, {"x": X}),
        "bernoulli": (core.bernoulli, {"probs": P}, {"probs": {"NaN", "infinite"}}),
    }

`UNPROBED` names public callables that have no row, each with its reason.
"""
