"""Object-centric embeddings, learnt without labels (Wolf et al., ICCV 2023, arXiv 2310.08501)."""
