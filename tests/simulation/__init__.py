"""Simulation of the real runtime over in-memory backends: virtual time, a seeded scheduler, every fault that is known."""
