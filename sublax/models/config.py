"""What a decoder is: the numbers that its function depends on."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class RopeConfig:
    """Rotary position embedding (Su et al., arXiv 2104.09864) and how it is stretched.

    Attributes:
        theta: base of the geometric series of wavelengths.
        kind: `default`, `linear` (arXiv 2306.15595), `dynamic` (NTK-aware, by sequence length),
            `llama3` (the Llama 3.1 release) or `yarn` (arXiv 2309.00071).
        factor: how many times longer the context is than the one that was trained first.
        original_max_positions: that first context's length; `llama3` and `yarn` need it.
        low_freq_factor: `llama3`: wavelengths above original/low_freq_factor are divided.
        high_freq_factor: `llama3`: wavelengths below original/high_freq_factor are kept.
        beta_fast: `yarn`: rotations over the original context above which nothing is divided.
        beta_slow: `yarn`: rotations below which everything is divided.
        attention_factor: `yarn`: scale of cosine and sine; None derives it from `factor`.
        mscale: `yarn`: DeepSeek's numerator in that derivation; 0 is unset.
        mscale_all_dim: `yarn`: its denominator; 0 is unset.
        truncate: `yarn`: round the correction range to whole dimensions.
    """

    theta: float = 10000.0
    kind: str = "default"
    factor: float = 1.0
    original_max_positions: int | None = None
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float = 0.0
    mscale_all_dim: float = 0.0
    truncate: bool = True


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """A pre-norm decoder with gated MLP (Llama 2/3.x, Qwen 2/2.5/3, SmolLM2, Mistral).

    Attributes:
        family: Hugging Face `model_type`: `llama`, `qwen2`, `qwen3` or `mistral`.
        vocab_size: V, rows of the embedding.
        hidden_size: D, width of the residual stream.
        intermediate_size: F, width of the gated MLP.
        num_layers: L.
        num_heads: H query heads.
        num_kv_heads: K key/value heads; K divides H.
        head_dim: h; H * h need not equal D.
        max_positions: the longest sequence that the model was made for.
        norm_eps: epsilon of RMSNorm.
        rope: rotary embedding.
        tied_embeddings: the output head is the embedding.
        qkv_bias: biases on the q, k and v projections.
        output_bias: bias on the attention's output projection.
        mlp_bias: biases on gate, up and down.
        qk_norm: RMSNorm over head_dim on queries and keys, before RoPE.
        sliding_windows: one entry per layer: how many last positions a query sees (itself
            included), or None for all.
    """

    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    norm_eps: float
    rope: RopeConfig
    tied_embeddings: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    sliding_windows: tuple[int | None, ...]
