"""Trains the draft model: python studies/train/draft.py CORPUS OUT."""

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
from torch import Tensor

from model import Llama, Shape

SHAPE = Shape(
    hidden_size=192,
    num_hidden_layers=4,
    num_attention_heads=6,
    num_key_value_heads=2,
    intermediate_size=512,
)
LENGTH = 512


def windows(root: Path, batch: int, seed: int) -> Iterator[Tensor]:
    """Yields batches of LENGTH + 1 bytes; each epoch has new bad habits in a new order."""
    epoch = 0
    while True:
        epoch += 1
        stream = np.frombuffer(data.corrupted(root, seed + epoch), dtype=np.uint8)
        rng = Random(seed + epoch)
        starts = list(range(rng.randrange(LENGTH), len(stream) - LENGTH - 1, LENGTH))
        rng.shuffle(starts)
        for at in range(0, len(starts) - batch + 1, batch):
            rows = [stream[s : s + LENGTH + 1] for s in starts[at : at + batch]]
            yield torch.from_numpy(np.stack(rows).astype(np.int64))


def main() -> None:
    args = options.parse(__doc__, 2400)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = checkpoint.load(args.init).train() if args.init else Llama(SHAPE)
    both = optimiser.Both(model)
    begin, total = time.time(), 0.0
    source = windows(args.corpus, args.batch, args.seed)
    for step, rows in zip(range(args.steps), source, strict=False):
        # Attention is half of the time at 512 bytes, so most steps see windows of 256.
        length = LENGTH // 2 if step < args.short * args.steps else LENGTH
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(rows[:, :-1].reshape(-1, length))
        loss = F.cross_entropy(logits.float().view(-1, 256), rows[:, 1:].reshape(-1))
        loss.backward()
        both.step(args.peak * optimiser.share(step, args.steps, decay=args.decay))
        total += loss.item()
        if (step + 1) % 50 == 0:
            print(f"{step + 1} {total / 50:.4f} nats/byte {time.time() - begin:.0f} s", flush=True)
            total = 0.0
        if (step + 1) % 200 == 0 or step + 1 == args.steps:
            checkpoint.save(model, args.out)


if __name__ == "__main__":
    main()
