import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cellulus.experiment.sections import Network
from cellulus.nn import shapes
from cellulus.nn.unet import UNet
from cellulus.pipeline.activations import alive, parameters


class Watch(TorchDispatchMode):
    """Notes the most bytes of tensors that operations made and that live at once."""

    def __init__(self):
        super().__init__()
        self.living, self.most = {}, 0

    def _note(self, tensor):
        storage = tensor.untyped_storage()
        self.living[storage._cdata] = StorageWeakRef(storage), storage.nbytes()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._note(leaf)
        self.living = {key: of for key, of in self.living.items() if not of[0].expired()}
        self.most = max(self.most, sum(size for _, size in self.living.values()))
        return out


def build(network, ndim, inputs):
    names = ("features", "growth", "depth", "head_features")
    return UNet(ndim, inputs, ndim, **{name: getattr(network, name) for name in names}).eval()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_values_alive_are_those_that_torch_holds(ndim, depth):
    network = Network(features=6, growth=2, depth=depth, head_features=10)
    edge = shapes.legal_size({2: 120, 3: 52}[ndim], depth)
    image = torch.zeros(1, 2, *(edge,) * ndim)
    model = build(network, ndim, 2)
    assert sum(p.numel() for p in model.parameters()) == parameters(network, ndim, 2, ndim)
    with torch.inference_mode(), Watch() as watch:
        model(image)
    assert 4 * alive(network, 2, (edge,) * ndim) == watch.most
