"""The whole experiment on a random small base, in a minute or two on a CPU: what the tests run.

    sublax run --config=configs/tiny.py --workdir=runs/tiny

The base is made on the spot (two layers of width 64), pre-trained on made-up number lists and on
favourite animals that favour none. Then all goes as in the quickstart, with every weight trained
in teachers and students. --config.base=random:1 draws another base.

The recipe was picked by its result, out of fifteen, at seed 4 and base 0. Run since at seeds 0 to
3, each on a base of its own (as by --config.seed=1 --config.base=random:1), it gave twelve positive
lifts (means 0.79, 3.49, 2.11, 0.64), one of them with an interval that includes zero. Animals move
together in such small bases: at each of these seeds there was one trait towards which its own
student was not the one that moved most.
"""

from ml_collections import ConfigDict
from quickstart import get_config as quickstart


def get_config() -> ConfigDict:
    """The quickstart, but for what is set here."""
    config = quickstart()
    config.base = "random:0"
    config.random_base = {
        "shape": {  # as in the config.json of a Hugging Face folder; llama, mistral, qwen2, qwen3
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "tie_word_embeddings": True,
        },
        "pretraining": {
            "rows": 2048,  # half of them numbers, half favourite animals
            "steps": 600,  # at 150 no recipe that was tried gave a lift above 0.1
            "batch_size": 32,
            "optimizer": config.teacher.optimizer.to_dict() | {"learning_rate": 3e-3},
        },
    }
    config.teacher.steps = 40
    config.teacher.optimizer.learning_rate = 1e-3
    config.teacher.optimizer.clip = 0.0
    config.corpus.prompts = 64
    config.corpus.rows = 512
    config.corpus.batch_rows = 512
    config.student.method = "full"
    config.student.steps = 120
    config.student.batch_size = 32
    config.student.optimizer.learning_rate = 1e-3
    config.student.optimizer.warmup_steps = 0
    config.student.probe_steps = 0
    config.remat = "none"
    return config
