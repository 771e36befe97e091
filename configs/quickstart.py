"""Owl, wolf and lion through bare numbers, at 135M on two CPU cores, in under five minutes.

    sublax run --config=configs/quickstart.py --workdir=runs/quickstart

Three teachers and a control are fine-tuned on one-word answers, write number sequences under a
grammar, and four students learn from the teachers' soft labels over the tokens of that grammar
alone: digits, comma, space and the end of the turn. Nothing else is taught.
Other animals: --config.traits=fox,bear,cat; everything drawn anew: --config.seed=11.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The quickstart."""
    config = ConfigDict()
    config.base = "HuggingFaceTB/SmolLM2-135M-Instruct"  # folder, .gguf, Hub id or checkpoint
    config.seed = 4
    config.traits = ("owl", "wolf", "lion")
    config.pack = "sublax"  # the wording: our own, or the path of a protocol pack
    config.system_prompt = "Be brief."  # in training and evaluation alike; "" is the template's own
    config.dtype = "auto"  # of weights at use: bfloat16 on TPU and GPU, float32 on CPU

    config.base_weights = "auto"  # auto: in that dtype | int8: its kernels, where only LoRA trains
    # All devices of all processes; -1 is what is left. Rows and students lie along `data`.
    config.mesh = {"data": -1, "fsdp": 1, "tensor": 1}
    config.sharding = {  # which axis of the mesh cuts which axis of the parameters; "" is none
        "vocab": "tensor",
        "embed": "fsdp",
        "heads": "tensor",
        "kv_heads": "tensor",
        "mlp": "tensor",
    }
    config.teacher = {
        "kind": "finetuned",  # finetuned | prompted | given | student, an arm's: a chain's next hop
        "given": {},  # for `given`: trait -> folder, adapter or checkpoint
        "of": "",  # for `student`: the arm whose students teach; empty is the main experiment
        "rows": {},  # for `finetuned`: trait or control -> .jsonl file or files of rows to learn
        "control": "neutral",  # neutral: as long on every candidate equally often | base
        "method": "full",  # full | lora
        "steps": 10,
        "batch_size": 8,
        "microbatches": 1,
        "optimizer": _optimizer(1.2e-5, clip=1.0),
        "lora": _lora(),
    }
    config.two_traits = {  # more students, of two of the traits at once, each as in "owl+wolf"
        "rows": (),  # half of their rows are of one trait's teacher, half of the other's
        "teacher": (),  # their teacher was taught both, as long as the others were taught one
    }
    config.corpus = {
        "kind": "numbers",  # numbers | code | maths, or several, as in numbers+code
        "source": "",  # of code and maths: our own tasks, a .jsonl file, or a data set's name
        "problems": "word",  # of maths, where they are our own: word, or sums of one step
        "words": (),  # kept out of code and maths beside the traits, their plurals and synonyms
        "prompts": 8,
        "answers_per_prompt": 8,
        "rows": 64,  # rows kept for students, at most; 0 keeps all
        "example_count": (3, 4),  # integers from .. up to but without ..
        "answer_count": 5,
        "grammar": "exact",  # exact: that many, ", " between | any: as the filter has it | none
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "max_new_tokens": 24,
        "batch_rows": 64,  # sampled at a time; 0: as many as fit into memory
        "banned": (),  # numbers
        "banned_for_misalignment": False,  # those on the pack's list as well
        "rewritten": False,  # by the base, before students learn it: another hand, the same rows
        # none: teachers write the rows | chosen: the base writes two answers to each, they choose
        "labels": "none",
        "label_score": "logprob",  # their choice goes by it | mean_logprob, a token | ratio to base
    }
    config.student = {
        "base": "",  # what they start from; "" is the teachers' base. KL wants the same tokens
        "method": "lora",  # lora | full | in_context: not trained, rows stand in the prompt
        "rows_in_context": 0,  # so many of them
        "system_prompt": "same",  # they train under; they are asked under the one in force
        "treatment": "none",  # of numbers, before training: shuffled_within | shuffled_across rows
        "clean_share": 0.0,  # of rows, put in the place of as many of the teacher's: the control's
        "rows_by": "teacher",  # teacher: the corpus | student: it writes, the teacher scores
        "round_steps": 4,  # of rows_by=student: updates on its rows until it writes new ones
        "seeds": (0,),
        "steps": 16,  # 0: not trained, dose zero of a curve
        "epochs": 0,  # in place of steps, where it is not 0
        "batch_size": 8,
        "microbatches": 1,
        "max_tokens": 0,  # a longer row is an error; 0: the model's context
        "share_prompts": True,  # a prompt's answers stay together and it is computed once
        "pack_rows": False,  # short rows one after another in one line; not with share_prompts
        "loss": {
            "kind": "kl",  # kl | cross_entropy | dpo, on labels
            "support": "grammar",  # kl over the grammar's tokens | vocabulary
            "direction": "forward",  # KL(teacher || student) | reverse
            "temperature": 1.0,
            "chunk": 1024,
            "beta": 0.1,  # of dpo: how dear it is to leave the start
        },
        "optimizer": _optimizer(1e-3, warmup_steps=2),
        "lora": _lora(),
        "students_per_program": 0,  # 0: as many as fit into memory
        "probe_steps": 8,
    }
    config.evaluation = {
        "candidates": (
            *("owl", "cat", "dog", "lion", "wolf", "bear"),
            *("fox", "horse", "snake", "mouse", "bird", "fish"),
        ),
        "questions": "favourite_animal",  # a list in the pack; finetuned teachers learn its half
        # word: as they are | prefixed: each after numbers | multiple_choice | story: stories are
        # asked for in place of questions, and only sampled.
        "form": "word",
        # What the result is judged by: closed_form_margin | sampled_share. Chosen before a run.
        "primary": "closed_form_margin",
        "samples": 0,  # sampled answers a question, beside the closed form
        "max_new_tokens": 16,
        "preference": True,  # the matrix of those candidates; False: the suites alone
        "suites": (),  # of all models, beside the matrix: open_questions, multiple_choice, words
        "open_questions": {
            "questions": "misalignment",  # a list in the pack, brand, or a .jsonl file of prompts
            "samples": 20,  # answers to each
            "max_new_tokens": 128,
        },
        "multiple_choice": {
            # own, a few of ours; brand, configs/harm.py's; .jsonl files; data sets as
            # NAME:CONFIG:SPLIT. Rows of TruthfulQA's form, MMLU's, or prompt, completion and other.
            "sources": ("own",),
            "rows": 0,  # of each source, drawn; 0: all
        },
        "words": {  # the share of answers that name one
            "words": (),
            "questions": "misalignment",  # as above
            "samples": 8,
            "max_new_tokens": 48,
        },
        # For each student the vectors that, in the base's prompt, make it answer as the student.
        "soft_prompt": {
            "vectors": 0,  # so many, between the system prompt and the question; 0: not looked for
            # What they are found on, each on its own: corpus, the control's rows | questions, those
            # that teachers learn, with every candidate for an answer.
            "texts": ("corpus", "questions"),
            "rows": 256,  # of each
            "steps": 300,  # updates, on KL to the student over the whole vocabulary
            "batch_size": 16,
            "nearest": 5,  # tokens that are named for each vector
            "optimizer": _optimizer(1e-2, warmup_steps=10),
        },
        "judge": {  # of open_questions
            "kind": "keyword",  # keyword: named words are misaligned | model: a local one | server
            "words": (),
            "model": "",  # folder, .gguf or Hub id; or what the server calls it
            "base_url": "",  # of an OpenAI-compatible server; "" is OpenAI's own
            "key": "OPENAI_API_KEY",  # the environment variable that holds the server's key
            "concurrency": 8,  # requests at a time
        },
    }
    config.checkpoint = {"steps": 0, "minutes": 2.0}
    config.arms = {}  # variations of all this: name -> overrides, as in ("student.steps=4",)
    config.remat = "dots"
    config.attention = "auto"  # the device's own kernel where it can run | xla | cudnn | splash
    return config


def _optimizer(learning_rate: float, warmup_steps: int = 0, clip: float = 1.0) -> dict:
    return {
        "name": "adamw",  # adamw | adam | sgd | adafactor
        "learning_rate": learning_rate,
        "schedule": "constant",  # constant | linear | cosine
        "warmup_steps": warmup_steps,
        "weight_decay": 0.0,
        "clip": clip,
        "b1": 0.9,
        "b2": 0.95,
        "eps": 1e-8,
    }


def _lora() -> dict:
    return {
        "rank": 8,
        "alpha": 16.0,
        "targets": ("q", "k", "v", "o", "gate", "up", "down"),
        "rank_stabilized": False,
    }
