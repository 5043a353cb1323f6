"""Experiment files: what may be set, reading them with every fault, writing them commented."""
