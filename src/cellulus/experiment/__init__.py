"""Experiment files: what may be set (`sections`), reading them (`load`), writing them (`render`)."""
