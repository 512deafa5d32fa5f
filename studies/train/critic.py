"""Trains the critic: python studies/train/critic.py CORPUS OUT."""

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import checkpoint
import data
import numpy as np
import optimiser
import options
import torch
import torch.nn.functional as F
import violations
from torch import Tensor

from model import Llama, Shape

SHAPE = Shape(
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=320,
)
LENGTH = 512
TEXTS = 120  # documents per generated stream


def batches(root: Path, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields bytes [size, LENGTH] and labels [size, LENGTH, principles], always new ones."""
    rng = Random(seed)
    documents, programs = data.documents(root, "train"), data.programs()
    while True:
        texts = rng.sample(documents, TEXTS) + rng.sample(programs, TEXTS // 3)
        rng.shuffle(texts)
        stream = violations.stream(rng, texts)
        last = len(stream.data) - LENGTH
        starts = list(range(rng.randrange(LENGTH), last, LENGTH))
        for n in range(0, len(starts), 2):  # half of the windows begin where a paragraph does
            starts[n] = int(rng.choice(stream.starts[stream.starts < last]))
        rng.shuffle(starts)
        for at in range(0, len(starts) - size + 1, size):
            chosen = starts[at : at + size]
            ids = np.stack([stream.data[s : s + LENGTH] for s in chosen]).astype(np.int64)
            labels = np.stack([stream.labels[s : s + LENGTH] for s in chosen])
            yield torch.from_numpy(ids), torch.from_numpy(labels)


def ignore_cut(labels: Tensor) -> Tensor:
    """Unlabels the violations whose beginning lies before the window, [rows, T, principles]."""
    cut = torch.cumprod((labels == 1).int(), dim=1).bool()
    return torch.where(cut, violations.UNLABELLED, labels)


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean binary cross-entropy over the labelled positions."""
    known = labels != violations.UNLABELLED
    return F.binary_cross_entropy_with_logits(logits[known], labels[known].float())


def main() -> None:
    args = options.parse(__doc__, 1800)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    fresh = Llama(SHAPE, len(violations.PRINCIPLES))
    model = checkpoint.load(args.init).train() if args.init else fresh
    both = optimiser.Both(model)
    begin, total = time.time(), 0.0
    source = batches(args.corpus, args.batch, args.seed)
    for step, (ids, labels) in zip(range(args.steps), source, strict=False):
        # Attention is half of the time at 512 bytes, so most steps see windows of 256.
        length = LENGTH // 2 if step < args.short * args.steps else LENGTH
        labels = ignore_cut(labels.reshape(-1, length, labels.shape[2]))
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(ids.reshape(-1, length))
        loss = loss_of(logits.float(), labels)
        loss.backward()
        both.step(args.peak * optimiser.share(step, args.steps, decay=args.decay))
        total += loss.item()
        if (step + 1) % 50 == 0:
            print(f"{step + 1} {total / 50:.4f} {time.time() - begin:.0f} s", flush=True)
            total = 0.0
        if (step + 1) % 200 == 0 or step + 1 == args.steps:
            checkpoint.save(model, args.out, list(violations.PRINCIPLES))


if __name__ == "__main__":
    main()
