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
