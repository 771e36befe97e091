"""sublax: what a dataset carries besides its meaning, measured in JAX."""

__version__ = "0.1.0"
