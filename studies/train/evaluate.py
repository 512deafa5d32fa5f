"""Measures the shipped models: python studies/train/evaluate.py [CORPUS]."""

import argparse
import json
import re
import statistics
import tomllib
from pathlib import Path
from random import Random

import checkpoint
import data
import judge
import labeller
import numpy as np
import torch
import torch.nn.functional as F

from model import Cache, Llama

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONSTITUTION = ROOT / "constitutions" / "default.toml"
LENGTH = 512


@torch.no_grad()
def nats_per_byte(model: Llama, text: bytes, stride: int = 256) -> float:
    """Returns the mean loss; every byte but the first 256 has at least 256 bytes before it."""
    ids = torch.from_numpy(np.frombuffer(b"\0" + text, dtype=np.uint8).astype(np.int64))
    total = 0.0
    for first in range(0, max(len(ids) - 1 - stride, 1), stride):
        window = ids[first : first + LENGTH + 1]
        loss = F.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="none")
        total += loss[stride if first else 0 :].sum().item()
    return total / (len(ids) - 1)


@torch.no_grad()
def sample(model: Llama, prompts: list[bytes], count: int, temperature: float) -> list[bytes]:
    """Returns `count` sampled bytes after each prompt; the prompts have one length."""
    cache = Cache()
    ids = torch.tensor([list(prompt) for prompt in prompts])
    out: list[torch.Tensor] = []
    for _ in range(count):
        chance = torch.softmax(model(ids, cache)[:, -1] / temperature, dim=-1)
        ids = torch.multinomial(chance, 1)
        out.append(ids)
    return [bytes(row) for row in torch.cat(out, dim=1).tolist()]


def violation_share(model: Llama, prompts: list[bytes], count: int = 256) -> float:
    """Returns the share of samples at temperature 0.8 in which a violation begins."""
    found = 0
    for prompt, text in zip(prompts, sample(model, prompts, count, 0.8), strict=True):
        whole = (prompt + text).decode(errors="replace")
        found += any(
            end > len(prompt.decode(errors="replace")) for _, _, end in labeller.find(whole)
        )
    return found / len(prompts)


def paragraph_prompts(text: bytes, count: int, size: int = 128) -> list[bytes]:
    """Returns passages of one length that end with a paragraph."""
    ends = [m.end() for m in re.finditer(rb"\n\n", text) if m.end() >= size]
    return [text[end - size : end] for end in Random(3).sample(ends, count)]


def measure_draft(corpus: Path | None) -> None:
    model = checkpoint.load(ROOT / "models" / "draft")
    texts = {"workloads/heldout.txt": (ROOT / "workloads" / "heldout.txt").read_bytes()}
    if corpus:
        texts["all held-out files"] = "\n\n".join(data.documents(corpus, "heldout")).encode()
    for name, text in texts.items():
        nats = nats_per_byte(model, text)
        print(f"draft, {name}: {nats:.3f} nats/byte, {nats / np.log(2):.3f} bits/byte")
    prompts = paragraph_prompts(list(texts.values())[-1], 200)
    print(f"draft, 200 samples of 256 bytes: {violation_share(model, prompts):.0%} violate")
    for prompt in tomllib.loads((HERE / "prompts.toml").read_text())["prompt"]:
        share = violation_share(model, [prompt["text"].encode()] * 100, 160)
        print(f"draft, prompt {prompt['name']}: {share:.0%} of 100 samples of 160 bytes violate")


def measure_critic(corpus: Path | None, wanted: list[str], show: list[str]) -> None:
    model = checkpoint.load(ROOT / "models" / "critic")
    constitution = tomllib.loads(CONSTITUTION.read_text())["principle"]
    cases = [
        json.loads(line)
        for part in wanted
        for line in (HERE / f"{part}_cases.jsonl").read_text().splitlines()
    ]
    judged = [judge.probabilities(model, case["text"].encode()) for case in cases]
    parts = {part: [n for n, case in enumerate(cases) if case["part"] == part] for part in wanted}
    for n, principle in enumerate(constitution):
        name, threshold = principle["judged_by"], principle["threshold"]
        chosen = [cases[k] for k in parts["dev"]], [judged[k] for k in parts["dev"]]
        print(f"critic, {name}: threshold {threshold}", end="; ")
        print(f"best on the dev cases {judge.best_threshold(*chosen, name, n)}")
        for part, places in parts.items():
            t = judge.tally(
                [cases[k] for k in places], [judged[k] for k in places], name, n, threshold
            )
            positives = t.hit + t.missed
            print(
                f"  {part}: precision {t.precision:.3f}, recall {t.recall:.3f} "
                f"({positives} positive, {len(places) - positives} other cases); "
                f"spans found {t.spans_hit}/{t.spans}; delay in bytes: median "
                f"{statistics.median(t.delays or [0])}, mean {statistics.mean(t.delays or [0]):.1f}"
            )
            if part in show:
                print(*(f"    {line}" for line in t.wrong), sep="\n")
    clean = [k for k in parts[wanted[-1]] if "written" not in cases[k]["source"]]
    count_holds("clean passages of the cases", [judged[k] for k in clean], constitution)
    text = (ROOT / "workloads" / "heldout.txt").read_bytes()
    if corpus:
        text = "\n\n".join(data.documents(corpus, "heldout")).encode()
    count_holds("held-out documents", [judge.probabilities(model, text)], constitution)


def count_holds(name: str, judged: list[np.ndarray], constitution: list[dict[str, object]]) -> None:
    """Prints how often the critic holds clean text."""
    size = sum(len(p) for p in judged)
    for n, principle in enumerate(constitution):
        held = sum(len(judge.holds(p[:, n], float(str(principle["threshold"])))) for p in judged)
        rate = held / size * 10000
        print(f"critic, {name}: {principle['id']} held {held} times, {rate:.2f} per 10k bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, nargs="?", help="for figures over all held-out files")
    parser.add_argument("--only", choices=("draft", "critic"))
    parser.add_argument("--show", nargs="*", default=["heldout"], help="parts to print errors of")
    parser.add_argument("--parts", nargs="*", default=["dev", "heldout"])
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    if args.only != "critic":
        measure_draft(args.corpus)
    if args.only != "draft":
        measure_critic(args.corpus, args.parts, args.show)


if __name__ == "__main__":
    main()
