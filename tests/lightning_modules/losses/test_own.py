import re

import pytest
import torch

from experiments.errors import UserError
from experiments.schema import Task, TaskKind
from lightning_modules.losses.own import OwnLoss
from lightning_modules.losses.tasks import sigmoid_cross_entropy, softmax_cross_entropy

LOGITS = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.5, -0.2], [0.1, 0.2, 0.3]])
CLASSES = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [float("nan")] * 3])


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 3.0])])
def test_torchs_losses_give_what_ours_give(weights):
    labels = CLASSES.clone()
    labels[0, 1] = float("nan")
    own = OwnLoss(torch.nn.BCEWithLogitsLoss(reduction="none"), Task("a"))
    assert own(LOGITS, labels, weights).mean == pytest.approx(sigmoid_cross_entropy(LOGITS, labels, weights).mean)

    softmax = OwnLoss(torch.nn.CrossEntropyLoss(reduction="none"), Task("a", kind=TaskKind.multiclass))
    assert softmax(LOGITS, CLASSES, weights).mean == pytest.approx(softmax_cross_entropy(LOGITS, CLASSES, weights).mean)


def each_label(logits, targets):
    """The squared distance of each label."""
    return (logits - targets).square()


def test_an_image_of_which_a_class_is_unknown_counts_in_no_label_of_a_softmax():
    """Of labels that do not exclude each other the known ones count."""
    logits, targets = torch.zeros(3, 2), torch.tensor([[1.0, float("nan")], [0.0, 1.0], [1.0, 0.0]])
    softmax = OwnLoss(each_label, Task("a", kind=TaskKind.multiclass))(logits, targets)
    assert (softmax.total.item(), softmax.count.item()) == (2, 4)
    sigmoid = OwnLoss(each_label, Task("a"))(logits, targets)
    assert (sigmoid.total.item(), sigmoid.count.item()) == (3, 5)
    weighted = OwnLoss(each_label, Task("a"))(logits, targets, torch.tensor([3.0, 5.0]))
    assert (weighted.total.item(), weighted.count.item()) == (3 + 5 + 3, 5)


def test_a_loss_of_images_leaves_out_those_of_which_a_label_is_unknown():
    """Class weights of labels that do not exclude each other do not weigh an image; those of a softmax do."""
    logits = torch.tensor([[2.0, 0.0], [3.0, 0.0], [5.0, 0.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, float("nan")]])
    first = lambda logits, targets: logits[:, 0]  # noqa: E731
    for weights in (None, torch.tensor([7.0, 9.0])):
        term = OwnLoss(first, Task("a"))(logits, targets, weights)
        assert (term.total.item(), term.count.item()) == (5, 2)
    softmax = OwnLoss(first, Task("a", kind=TaskKind.multiclass))(logits, targets, torch.tensor([7.0, 9.0]))
    assert (softmax.total.item(), softmax.count.item()) == (2 * 7 + 3 * 9, 7 + 9)
    plain = OwnLoss(first, Task("a", kind=TaskKind.multiclass))(logits, targets)
    assert (plain.total.item(), plain.count.item()) == (5, 2)


def test_a_loss_is_given_float32_without_nan():
    given = []

    def loss(logits, targets):
        given.extend([logits, targets])
        return each_label(logits, targets)

    targets = torch.tensor([[1.0, float("nan")]]).bfloat16()
    term = OwnLoss(loss, Task("a"))(torch.zeros(1, 2).bfloat16(), targets)
    assert [value.dtype for value in given] == [torch.float32] * 2
    assert given[1].tolist() == [[1, 0]]
    assert term.total.dtype == term.count.dtype == torch.float32


@pytest.mark.parametrize("shape", [(3,), (2, 2), (2, 3, 1), ()])
def test_a_loss_of_another_shape_is_named(shape):
    with pytest.raises(UserError, match=rf"gives {re.escape(str(shape))}; it must give the loss of each of \(2, 3\)"):
        OwnLoss(lambda *_: torch.zeros(shape), Task("a"))(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(UserError, match="gives float"):
        OwnLoss(lambda *_: 1.0, Task("a"))(torch.zeros(2, 3), torch.zeros(2, 3))


def test_what_is_unknown_gives_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    OwnLoss(torch.nn.BCEWithLogitsLoss(reduction="none"), Task("a"))(logits, CLASSES).mean.backward()
    assert logits.grad is not None
    assert logits.grad[2].tolist() == [0, 0, 0]
    assert logits.grad[:2].abs().min() > 0


@pytest.mark.parametrize(
    ("loss", "words"), [(torch.nn.BCEWithLogitsLoss(), "reduction='none'"), (lambda a, b: 1 / 0, "division by zero")]
)
def test_a_wrong_loss_is_one_message(loss, words):
    with pytest.raises(UserError, match=rf"tasks\.a\.loss: .*{words}"):
        OwnLoss(loss, Task("a"))(LOGITS, CLASSES)
