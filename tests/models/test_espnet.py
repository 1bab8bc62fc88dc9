"""ESPNet beside what its paper and its authors' files say."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from gencomp.models.espnet import CAMVID, CITYSCAPES, ESPNet, Preset, espnet

WEIGHTS = Path(__file__).parents[3] / "shared" / "weights"
AUTHORS_MEANS = {
    "espnet_p_2_q_8_camvid": (
        *(-1.6309, 5.8813, 0.5458, -4.9749, -4.1474, 0.9029, 2.6958, -1.4844, 0.5284, 1.0472, 0.1628, 1.906),
    ),
    "espnet_p_2_q_8": (
        *(-0.1364, -3.0341, 1.2739, -1.3653, 0.516, 1.9154, 1.1628, 5.8676, -0.2429, -1.819, -0.4209, 0.6657),
        *(-1.0995, -3.9618, 0.278, 0.0704, -0.7116, -3.3199, -1.8106, 5.6021),
    ),
}
"""Of each channel of the logits of `ramp`, by the authors' code: `train/Model.py` of github.com/sacmehta/ESPNet for
CamVid, `test/Model.py` for Cityscapes."""


def authors_names(network: ESPNet) -> dict[str, Tensor]:
    """The tensors under the names of the authors' files, as their module tree has them."""
    encoder = ("level1", "b1", "level2_0", "level2", "b2", "level3_0", "level3", "b3", "coarse_classifier")
    found = {}
    for name, tensor in network.state_dict().items():
        top, *middle, last = name.split(".")
        block = top in ("level2", "level3") or (top == "combine_l2_l3" and middle[0] == "1")
        if middle and middle[-1] in ("bn", "act") and block:
            middle.insert(-1, "bn")
        if (middle and middle[-1][0] in "cd" and middle[-1] != "conv") or top in ("coarse_classifier", "level3_C"):
            middle.append("conv")
        path = [top.removeprefix("coarse_"), *middle, last]
        found[".".join(["encoder", *path] if top in encoder else path)] = tensor
    return {name: tensor for name, tensor in found.items() if not name.endswith("num_batches_tracked")}


def random(p: int = 2, q: int = 8, *, reduced_skip: bool = False) -> ESPNet:
    torch.manual_seed(0)
    network = ESPNet(CAMVID, p, q, reduced_skip=reduced_skip)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_()
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize("reduced_skip", [False, True])
def test_the_authors_names_lead_to_the_same_network(reduced_skip: bool) -> None:
    original = random(p=1, q=2, reduced_skip=reduced_skip)
    tensors = authors_names(original)
    assert {"encoder.level2.0.d16.conv.weight", "encoder.level2.0.bn.act.weight", "encoder.level3_0.bn.weight"} <= {
        *tensors
    }
    read, preset = espnet(tensors)
    x = torch.rand(2, 3, 24, 40) * 2 - 1
    with torch.inference_mode():
        logits = read(x)
        assert torch.equal(logits, original(x))
    assert preset is CAMVID and logits.shape == (2, 12, 24, 40)


def test_a_picture_of_the_training_mean_is_what_the_first_convolution_sees_as_zero() -> None:
    network = random()
    blue, green, red = CAMVID.mean
    x = torch.tensor([red, green, blue]).view(1, 3, 1, 1).expand(1, 3, 16, 16) / 127.5 - 1
    seen: list[Tensor] = []
    network.level1.conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network(x)
        network((x + 2 / 255).contiguous())
    assert seen[0].abs().max() < 1e-6
    steps = [1 / std / 255 for std in CAMVID.std]
    assert torch.allclose(seen[1].mean((0, 2, 3)), torch.tensor(steps), atol=1e-6)


def test_tensors_of_something_else_are_refused_by_name() -> None:
    tensors = authors_names(random(q=1))
    with pytest.raises(ValueError, match=r"it has 0 outputs, not 12 or 20$"):
        espnet({"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"^not ESPNet: level1\.bn\.bias is missing"):
        espnet({name: tensor for name, tensor in tensors.items() if name != "encoder.level1.bn.bias"})
    with pytest.raises(ValueError, match=r"^not ESPNet: b3\.bn\.bias "):
        espnet(tensors | {"encoder.b3.bn.bias": torch.zeros(3)})


@pytest.mark.parametrize(("file", "preset"), [("espnet_p_2_q_8_camvid", CAMVID), ("espnet_p_2_q_8", CITYSCAPES)])
def test_the_authors_weights_give_what_the_authors_code_gives(file: str, preset: Preset) -> None:
    path = WEIGHTS / f"{file}.pth"
    if not path.is_file():
        pytest.skip(f"needs the authors' weights as {path}")
    network, found = espnet(torch.load(path, map_location="cpu", weights_only=True))
    ramp = torch.arange(3 * 40 * 64).view(1, 3, 40, 64) % 251 / 125 - 1
    with torch.inference_mode():
        means = network(ramp).mean((0, 2, 3)).tolist()
    assert found is preset
    assert means == pytest.approx(AUTHORS_MEANS[file], abs=1e-3)
