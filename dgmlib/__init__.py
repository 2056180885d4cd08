"""The tested implementations behind *Deep Generative Models: an Executable Course*: one flat module per topic."""

__version__ = "0.1.0"
