"""One task of the Cloud Run Job that runs heavy steps and the parts of those that split."""

from causal_orchestrator.entrypoints import on_task

if __name__ == "__main__":
    raise SystemExit(on_task())
