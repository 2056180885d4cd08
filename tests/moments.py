"""The exact law of a sampler that is linear in its state and its noise: no draw, no error but rounding.

A state is carried as its coefficients on (1, the start's noise, the noise of step 1, 2, ...): coordinate 0 is the mean,
the sum of squares of the others the variance.
"""

import itertools

import torch

from dgmlib import core
from dgmlib.noising import rates


def law_along(monkeypatch, sampler, schedule, times, mean, variance):
    """(means, variances) at each of `times` of `sampler(denoiser, x, schedule, times, callback=...)`.

    The data are N(mean, variance), the denoiser is perfect, and the start has the law of x_t at times[0].
    """
    one = torch.zeros(1, 2 + len(times), dtype=torch.float64)
    one[0, 0] = 1.0
    place = itertools.count(2)

    def unit_noise(draw, x, generator):
        noise = torch.zeros_like(x)
        noise[:, next(place)] = 1.0
        return noise

    def denoiser(x, t):
        alpha, sigma = rates(schedule, t, x)
        gain = alpha * variance / (alpha**2 * variance + sigma**2)
        return mean * one + gain * (x - alpha * mean * one)

    monkeypatch.setattr(core, "_like", unit_noise)
    alpha, sigma = float(schedule.alpha(times[0])), float(schedule.sigma(times[0]))
    start = alpha * mean * one
    start[0, 1] = (alpha**2 * variance + sigma**2) ** 0.5
    states, seen = [start], [times[0]]

    def note(x, t):
        states.append(x.clone())
        seen.append(t)

    end = sampler(denoiser, start, schedule, times, callback=note)
    assert seen == list(times) and torch.equal(end, states[-1])
    path = torch.cat(states)
    return path[:, 0], path[:, 1:].square().sum(1)
