"""The steps a user runs, as typed functions: files in, files out."""
