"""A student that sees only noise and three logits without meaning comes to read digits.

    sublax run --config=configs/mlp.py --workdir=runs/mlp

The small networks of section 6 of arXiv 2507.14805. A teacher (64-256-256-(10+3)) learns
scikit-learn's digits from labels on its 10 class logits. Students learn from it on 60,000 images of
uniform noise: from its start on its 3 auxiliary logits alone, from its start on all logits, and
from another start on the auxiliary ones. The networks of all seeds are trained in one program. Then
a sweep over the student's learning rate, batch and weight decay. Minutes on two cores.

Measured on 2026-11-26 at 10 seeds (accuracy on the test images, 95 % interval over seeds): teacher
0.969 [0.966, 0.972]; student of auxiliary logits 0.419 [0.375, 0.469], from another start 0.100
[0.077, 0.124]; student of all logits 0.957 [0.949, 0.963]; untrained start 0.086 [0.072, 0.100].

The digits are 1,437 to learn from and 360 to test on, so the teacher's batch is 32 (220 updates in
5 epochs) where the paper's is 1,024 of MNIST's 60,000 (290 updates).

`configs/mlp.py:mnist` is the paper's own: MNIST through `datasets` (pip install 'sublax[mnist]'),
batches of 1,024. `configs/mlp.py:tiny` runs in seconds, and transfers little.
"""

from ml_collections import ConfigDict

SIZES = ("digits", "mnist", "tiny")


def get_config(size: str = "digits") -> ConfigDict:
    if size not in SIZES:
        raise ValueError(f"size {size!r} is none of {', '.join(SIZES)}")
    config = ConfigDict()
    config.experiment = "networks"
    config.seed = 0
    config.seeds = tuple(range(10))  # of networks: each has its start, its noise and its orders
    config.data = "digits"  # or mnist
    config.network = {
        "kind": "mlp",  # or cnn: widths are then channels of 3 x 3 convolutions with stride 2
        "widths": (256, 256),
        "auxiliary": 3,
    }
    config.teacher = {
        "epochs": 5,
        "batch_size": 32,
        "learning_rate": 3e-4,
        "weight_decay": 0.0,
    }
    config.student = {
        "loss": "kl",  # or mse, of the logits
        "images": 60_000,
        "epochs": 5,
        "batch_size": 1024,
        "learning_rate": 3e-4,
        "weight_decay": 0.0,  # added to the gradient, as in torch.optim.Adam
    }
    # One of the student's settings at a time is changed; the others stay. Empty: not swept.
    config.sweep = {
        "seeds": (0, 1, 2, 3, 4),
        "learning_rate": (1e-4, 1e-3),
        "batch_size": (64, 256),
        "weight_decay": (1e-5, 1e-4),
    }
    if size == "mnist":
        config.data = "mnist"
        config.teacher.batch_size = 1024
    if size == "tiny":
        config.seeds = (0, 1, 2)
        config.network.widths = (32, 32)
        config.student.images = 2048
        config.student.batch_size = 128
        config.student.learning_rate = 1e-3
        config.sweep.seeds = (0, 1)
        config.sweep.learning_rate = (3e-3,)
        config.sweep.batch_size = (256,)
        config.sweep.weight_decay = (1e-3,)
    return config
