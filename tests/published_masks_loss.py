"""The published loss of spatial embeddings, dense: every object against every voxel of its crop.

The oracle of `cellulus.methods.spatial_embedding.objective`, written from the paper (Lalit et al.
2022, arXiv 2101.10033, equations 1 to 5) with the published ``s``, precision ``exp(10 s)``; what
the paper leaves open - voxels that are not annotated, lengths in units of objects - as we do it.
Also what `benchmarks/masks_objective.py` compares with.
"""

import math

import torch

FARTHEST, FIRST_MARGIN = 2.0, 0.25


def jaccard_hinge(logits, inside):
    """Berman et al. 2018, algorithm 1, for one object."""
    signs = 2 * inside.to(logits.dtype) - 1
    errors, order = torch.sort(1 - logits * signs, descending=True, stable=True)
    truth = inside[order].to(logits.dtype)
    total = truth.sum()
    jaccard = 1 - (total - truth.cumsum(0)) / (total + (1 - truth).cumsum(0))
    slopes = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return torch.relu(errors) @ slopes


def published_terms(output, labels, centres, object_voxels, foreground_weight=10.0):
    """The three terms of a batch without their weights.

    `output` is raw, ``(B, 2 D + 1, *S)``; `labels` ``(B, *S)`` and `centres` ``(B, N, D)`` are of
    the same voxels.
    """
    ndim = output.ndim - 2
    grid = torch.meshgrid(*[torch.arange(n) + 0.5 for n in output.shape[2:]], indexing="ij")
    place = torch.stack(grid).to(output)
    totals, crops = [0, 0, 0], 0
    for raw, label, middle in zip(output, labels, centres, strict=True):
        known = label >= 0
        if not known.any():
            continue
        crops += 1
        embedding = place + FARTHEST * object_voxels * torch.tanh(raw[:ndim])
        sigma = -raw[ndim : 2 * ndim] / 5
        seed = torch.sigmoid(raw[-1])
        instance, variance = [], []
        seeds = (seed[label == 0] ** 2).sum()
        for number in range(1, len(middle) + 1):
            mask = label == number
            if not mask.any():
                continue
            s = sigma[:, mask].mean(dim=1)
            variance.append((sigma[:, mask] - s.detach()[:, None]).square().mean())
            precision = math.log(2) / (FIRST_MARGIN * object_voxels) ** 2 * torch.exp(10 * s)
            shape = (ndim, *[1] * ndim)
            away = embedding - middle[number - 1].to(output).view(shape)
            phi = torch.exp(-(away.square() * precision.view(shape)).sum(dim=0))
            instance.append(jaccard_hinge(2 * phi[known] - 1, mask[known]))
            misses = (seed[mask] - phi.detach()[mask]).square().sum()
            seeds = seeds + foreground_weight * misses
        if instance:
            totals[0] = totals[0] + torch.stack(instance).mean()
            totals[1] = totals[1] + torch.stack(variance).mean()
        totals[2] = totals[2] + seeds / known.sum()
    zero = 0 * output.sum()
    instance, variance, seeds = (zero + total / max(crops, 1) for total in totals)
    return {"instance": instance, "variance": variance, "seed": seeds}


def published_loss(output, labels, centres, object_voxels):
    """Their weighted sum with the published weights."""
    terms = published_terms(output, labels, centres, object_voxels)
    return terms["instance"] + 10 * terms["variance"] + terms["seed"]
