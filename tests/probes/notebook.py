"""Example calls of `dgmlib.notebook`."""

import torch

from dgmlib import notebook
from dgmlib.divergences import kl_gaussian

RUN = notebook.Run(torch.device("cpu"), "smoke", 0)

CALLS = {
    # Which names are devices is torch's to say.
    "Run.generator": (RUN.generator, {"stream": 1, "device": "cpu"}, {"device": {"text"}}),
    # Whatever a function does is told, not refused.
    "diagnose": (notebook.diagnose, {"subject": "gaussian-kl", "function": kl_gaussian, "tell": "all"}),
    "show_source": (notebook.show_source, {"obj": kl_gaussian}),
    "source_markdown": (notebook.source_markdown, {"source": "dgmlib.core:data_parallel"}),
}
UNPROBED = {
    "Run": "what `setup` returns",
    "Run.pick": "takes and gives back anything",
    "Diagnosis": "what `diagnose` returns",
    "outcome": "takes the museum's own probes",
    "alike": "takes what `outcome` returns",
}
