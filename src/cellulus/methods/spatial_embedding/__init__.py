"""Spatial embeddings, learnt from masks (Lalit et al., MedIA 2022, arXiv 2101.10033)."""
