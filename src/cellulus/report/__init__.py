"""The report of a run: arrays and records in, one self-contained HTML page out."""
