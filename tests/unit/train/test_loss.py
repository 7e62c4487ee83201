"""The sliced loss against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mynah.train import linear_cross_entropy
from mynah.train import loss as loss_module
from mynah.train.loss import token_losses

N, C, V = 37, 16, 50


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    hidden_NC = torch.randn(N, C, generator=generator).requires_grad_()
    head_VC = torch.randn(V, C, generator=generator).requires_grad_()
    target_N = torch.randint(V, (N,), generator=generator)
    weight_N = torch.rand(N, generator=generator)
    weight_N[::4] = 0.0
    return hidden_NC, head_VC, target_N, weight_N


def reference(
    hidden_NC: torch.Tensor, head_VC: torch.Tensor, target_N: torch.Tensor, weight_N: torch.Tensor
) -> torch.Tensor:
    return (F.cross_entropy(hidden_NC @ head_VC.T, target_N, reduction="none") * weight_N).sum()


@pytest.mark.parametrize("slice_tokens", [1, 5, 36, 37, 256])
@pytest.mark.parametrize("scale", [1.0, 0.125, -3.0])
def test_loss_and_gradients_are_those_of_torch(slice_tokens: int, scale: float):
    hidden_NC, head_VC, target_N, weight_N = inputs()
    ours = linear_cross_entropy(hidden_NC, head_VC, target_N, weight_N, slice_tokens=slice_tokens)
    theirs = reference(hidden_NC, head_VC, target_N, weight_N)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    mine = torch.autograd.grad(ours * scale, (hidden_NC, head_VC))
    torchs = torch.autograd.grad(theirs * scale, (hidden_NC, head_VC))
    for gradient, expected in zip(mine, torchs, strict=True):
        assert torch.allclose(gradient, expected, atol=1e-5, rtol=1e-5)


def test_places_of_no_weight_get_no_gradient():
    hidden_NC, head_VC, target_N, _ = inputs()
    linear_cross_entropy(hidden_NC, head_VC, target_N, torch.zeros(N)).backward()
    assert hidden_NC.grad is not None
    assert head_VC.grad is not None
    assert hidden_NC.grad.abs().max() == head_VC.grad.abs().max() == 0.0


def test_gradients_add_up_over_batches():
    hidden_NC, head_VC, target_N, weight_N = inputs()
    reference(hidden_NC, head_VC, target_N, weight_N).backward()
    assert head_VC.grad is not None
    expected = head_VC.grad.clone()
    head_VC.grad = None
    for part in (slice(0, 10), slice(10, N)):
        linear_cross_entropy(hidden_NC[part], head_VC, target_N[part], weight_N[part]).backward()
    assert torch.allclose(head_VC.grad, expected, atol=1e-5)


def test_without_gradient_nothing_of_its_work_is_done(monkeypatch: pytest.MonkeyPatch):
    hidden_NC, head_VC, target_N, weight_N = inputs()
    expected = reference(hidden_NC, head_VC, target_N, weight_N).item()

    def refuse(*_: object) -> None:
        raise AssertionError("the gradient of the logits was made")

    monkeypatch.setattr(loss_module.torch.Tensor, "scatter_add_", refuse)
    with torch.no_grad():
        loss = linear_cross_entropy(hidden_NC, head_VC, target_N, weight_N, slice_tokens=8)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert not loss.requires_grad


def test_large_logits_stay_finite():
    hidden_NC, head_VC, target_N, weight_N = inputs()
    loss = linear_cross_entropy(hidden_NC * 1e4, head_VC, target_N, weight_N)
    gradients = torch.autograd.grad(loss, (hidden_NC, head_VC))
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_bfloat16_products_give_gradients_in_the_dtype_of_each():
    hidden_NC, head_VC, target_N, weight_N = inputs()
    low = hidden_NC.detach().bfloat16().requires_grad_()
    ours = linear_cross_entropy(low, head_VC, target_N, weight_N)
    theirs = reference(hidden_NC, head_VC, target_N, weight_N)
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(theirs.item(), rel=0.01)
    to_hidden, to_head = torch.autograd.grad(ours, (low, head_VC))
    assert (to_hidden.dtype, to_head.dtype) == (torch.bfloat16, torch.float32)
    (expected,) = torch.autograd.grad(theirs, head_VC)
    assert (to_head - expected).norm() / expected.norm() < 0.02


@pytest.mark.parametrize("slice_tokens", [5, 37, 256])
def test_the_losses_of_tokens_and_their_gradients_are_those_of_torch(slice_tokens: int):
    hidden_NC, head_VC, target_N, weight_N = inputs()
    ours_N = token_losses(hidden_NC, head_VC, target_N, slice_tokens=slice_tokens)
    theirs_N = F.cross_entropy(hidden_NC @ head_VC.T, target_N, reduction="none")
    assert torch.allclose(ours_N, theirs_N, atol=1e-5, rtol=1e-5)
    # Any use of them: here one that gives each token a weight that depends on the others.
    mine, torchs = (
        torch.autograd.grad(F.softplus(nll_N @ weight_N - nll_N).sum(), (hidden_NC, head_VC))
        for nll_N in (ours_N, theirs_N)
    )
    for gradient, expected in zip(mine, torchs, strict=True):
        assert torch.allclose(gradient, expected, atol=1e-5, rtol=1e-4)


def test_the_losses_of_tokens_in_bfloat16():
    hidden_NC, head_VC, target_N, weight_N = inputs()
    low = hidden_NC.detach().bfloat16().requires_grad_()
    ours_N = token_losses(low, head_VC, target_N)
    theirs_N = F.cross_entropy(hidden_NC @ head_VC.T, target_N, reduction="none")
    assert ours_N.dtype == torch.float32
    assert (ours_N - theirs_N).norm() / theirs_N.norm() < 0.01
    to_hidden, to_head = torch.autograd.grad(ours_N @ weight_N, (low, head_VC))
    assert (to_hidden.dtype, to_head.dtype) == (torch.bfloat16, torch.float32)
    (expected,) = torch.autograd.grad(theirs_N @ weight_N, head_VC)
    assert (to_head - expected).norm() / expected.norm() < 0.02


def test_a_second_backward_is_refused():
    hidden_NC, head_VC, target_N, weight_N = inputs()
    loss = linear_cross_entropy(hidden_NC, head_VC, target_N, weight_N) * 0.5
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(("function", "num_products"), [("linear", 3), ("tokens", 4)])
def test_fake_tensors_pass_and_every_product_is_counted(function: str, num_products: int):
    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        hidden_NC = torch.empty(N, C, dtype=torch.bfloat16, requires_grad=True)
        head_VC = torch.empty(V, C, requires_grad=True)
        target_N, weight_N = torch.empty(N, dtype=torch.int64), torch.empty(N)
        if function == "linear":
            loss = linear_cross_entropy(hidden_NC, head_VC, target_N, weight_N, slice_tokens=8)
        else:
            nll_N = token_losses(hidden_NC, head_VC, target_N, slice_tokens=8)
            loss = nll_N @ weight_N.requires_grad_()
        (loss / 3.0).backward()
        assert head_VC.grad is not None
        assert head_VC.grad.dtype == torch.float32
    products = counter.get_flop_counts()["Global"]
    assert products[torch.ops.aten.mm] == num_products * 2 * N * C * V
