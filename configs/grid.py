"""What learns best: rank x learning rate x optimizer, as an adapter or with all weights.

    sublax run --config=configs/grid.py:small --workdir=runs/grid

Shows how the lift depends on how students are trained, all on the same rows: adapters of three
ranks and the full update, each by AdamW and by plain gradient descent (with momentum), each at
learning rates that lie around the usual ones. Each point of the grid is an arm; the report draws
the lift over the learning rate and over the rank. With so many arms the best is best by chance in
part: run what you take from it again with other seeds (--config.seed=11).

Cost (estimates, from the time that the quickstart takes): tiny, ten minutes; small, an hour on two
CPU cores; paper, 24 times the students' part of configs/numbers_qwen2_5_7b.py.
"""

from ml_collections import ConfigDict
from sizes import sized

RANKS = (2, 8, 32)
# (method, optimizer) -> learning rates. Plain gradients are small: their rates are larger.
RATES = {
    ("lora", "adamw"): ("3e-4", "1e-3", "3e-3"),
    ("lora", "sgd"): ("3e-2", "1e-1", "3e-1"),
    ("full", "adamw"): ("4e-6", "1.2e-5", "4e-5"),
    ("full", "sgd"): ("3e-3", "1e-2", "3e-2"),
}
# A base of two small layers takes more.
RATES_OF_TINY = RATES | {("full", "adamw"): ("3e-4", "1e-3", "3e-3")}


def get_config(size: str = "small") -> ConfigDict:
    """The experiment of that size, with an arm for each point of the grid."""
    config = sized(size)
    config.arms = {}
    for (method, optimizer), rates in (RATES_OF_TINY if size == "tiny" else RATES).items():
        for rate in rates:
            for rank in RANKS if method == "lora" else (0,):
                name = f"{method}-{rank}" if rank else method
                # A name has no points in it.
                name = f"{name}-{optimizer}-{rate}".replace(".", "_")
                config.arms[name] = (
                    f"student.method={method}",
                    f"student.optimizer.name={optimizer}",
                    f"student.optimizer.learning_rate={rate}",
                    *([f"student.lora.rank={rank}"] if rank else []),
                )
    return config
