"""Trains the residual network beside this file, with nothing done for its robustness: seconds on one thread.

    OMP_NUM_THREADS=1 python -m tests.data.residual.train

Data: scikit-learn's digits, 8x8 pixels in [0, 1]; the quarter that examples/digits/train.py holds out is not seen.
"""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from tests.graph.export import export
from tests.graph.plain import BasicBlock

FILE = Path(__file__).parent / "residual.onnx"


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    parts = train_test_split(images, digits.target, test_size=0.25, stratify=digits.target, random_state=0)
    x, test_x, y, test_y = map(torch.from_numpy, parts)
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), BasicBlock(16, 16, 1), BasicBlock(16, 16, 1)),
        *(nn.Flatten(), nn.Linear(256, 10)),
    )
    epochs = 20
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, epochs=epochs, steps_per_epoch=-(-len(x) // 128))
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(x)), 128):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(network(x[rows]), y[rows]))
            optimizer.step()
            schedule.step()
    network.eval()
    FILE.write_bytes(export(network, (1, 8, 8), dynamo=False, opset=17, dynamic=True))
    with torch.inference_mode():
        print(f"accuracy on {len(test_y)}: {float((network(test_x).argmax(1) == test_y).double().mean()):.3f}")


if __name__ == "__main__":
    main()
