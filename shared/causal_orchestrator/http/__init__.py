"""The HTTP service: one Flask app, the same under functions-framework and on a laptop (``causal serve``)."""
