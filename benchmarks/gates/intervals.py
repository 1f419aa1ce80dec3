"""Counts of simulated runs as figures."""

from scipy.stats import beta

from benchmarks.figures import Figure


def share_of(name: str, hits: int, runs: int, reach: str = "") -> Figure:
    """``hits`` of ``runs`` with the 95% interval of Clopper and Pearson (1934), in runs."""
    low = float(beta.ppf(0.025, hits, runs - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, runs - hits)) if hits < runs else 1.0
    return Figure(name, hits, low * runs, high * runs, f"of {runs}", reach)
