"""Causal Orchestrator."""
