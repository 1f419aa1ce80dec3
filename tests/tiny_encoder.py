"""A sentence encoder of one layer with random weights, for tests that need features but not what they mean."""

import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from trainers.features.embedder import SHIPPED_WHITENING
from trainers.features.encoder import shipped_folder

WIDTH = 32


def write_tiny_encoder(folder: Path) -> dict[str, Path]:
    """Write encoder and whitening to ``folder``; returns what the section ``[features]`` needs."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, initializer_range=0.2)
    model = BertModel(config, add_pooling_layer=False)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    shutil.copy(shipped_folder() / "tokenizer.json", folder)
    projection = np.random.default_rng(0).normal(size=(3 * WIDTH, 3 * WIDTH)).astype(np.float32) / (3 * WIDTH)
    save_file({"projection": projection, "guard_scale": load_file(SHIPPED_WHITENING)["guard_scale"]}, folder / "whitening.safetensors")
    return {"encoder": folder, "whitening": folder / "whitening.safetensors"}
