"""Writes the two transformers beside this file, one with random weights, one trained: half a minute on one thread.

    OMP_NUM_THREADS=1 python -m tests.data.transformer.train

BERT of the library transformers, two layers of two heads, whose inputs are embeddings: the eight rows of a digit are
its eight tokens. Data: scikit-learn's digits, 8x8 pixels in [0, 1]; the quarter that examples/digits/train.py holds out
is not seen.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

FOLDER = Path(__file__).parent


class Classifier(nn.Module):
    """Embeddings (batch, 8, 8) to logits."""

    def __init__(self) -> None:
        super().__init__()
        settings: dict[str, Any] = {
            "hidden_size": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "vocab_size": 2,
            "max_position_embeddings": 8,
            "num_labels": 10,
            "attn_implementation": "eager",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        }
        config = transformers.BertConfig(**settings)
        self.model = transformers.BertForSequenceClassification(config)
        with torch.no_grad():  # the library starts weights at 0.02, so that a fresh network is almost constant
            for value in self.model.parameters():
                if value.ndim > 1:
                    nn.init.normal_(value, std=(value[0].numel()) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs_embeds=x).logits
        return logits


def write(network: nn.Module, name: str) -> None:
    """The file as torch's exporter makes it by default."""
    program = torch.onnx.export(network.eval(), (torch.zeros(2, 8, 8),), dynamic_shapes=({0: "batch"},), verbose=False)
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # the folders of the machine that wrote it
    program.save(FOLDER / f"{name}.onnx", external_data=False)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    parts = train_test_split(images, digits.target, test_size=0.25, stratify=digits.target, random_state=0)
    x, test_x, y, test_y = map(torch.from_numpy, parts)
    network = Classifier()
    write(network, "random")
    epochs = 60
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, epochs=epochs, steps_per_epoch=-(-len(x) // 128))
    network.train()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(x)), 128):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(network(x[rows]), y[rows]))
            optimizer.step()
            schedule.step()
    network.eval()
    write(network, "trained")
    with torch.inference_mode():
        print(f"accuracy on {len(test_y)}: {float((network(test_x).argmax(1) == test_y).double().mean()):.3f}")


if __name__ == "__main__":
    main()
