"""Datasets: read untrusted files, snapshot them, and show agents what they may see."""
