from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from tapeout.errors import ModelError
from tapeout.model import TextStream, Tokenizer, load_tokenizer

Edit = Callable[..., Path]
TEXTS = ["the cat sat on the mat", "Grüße aus Zürich", "日本語 🙂 text", "x = y + 1\n\tpass"] * 3
SPECIAL = ["<s>", "</s>"]


def byte_level() -> tokenizers.Tokenizer:
    """As in Llama 3 and Qwen: byte-level BPE."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def sentence_piece() -> tokenizers.Tokenizer:
    """As in Llama 2 and Mistral: words start with U+2581, unknown characters are bytes."""
    pieces = [*SPECIAL, "<unk>", *(f"<0x{i:02X}>" for i in range(256))]
    vocab = {piece: i for i, piece in enumerate([*pieces, "▁", *"abcdefghijklmnopqrstuvwxyz"])}
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return tokenizer


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    source = Path(__file__).parents[1] / "checkpoints" / "llama2-mha" / "config.json"
    found: dict[str, Tokenizer] = {}
    for name, make in (("byte-level", byte_level), ("sentence-piece", sentence_piece)):
        directory = tmp_path_factory.mktemp(name)
        text = source.read_text().replace('"vocab_size": 128', '"vocab_size": 512')
        (directory / "config.json").write_text(text)
        make().save(str(directory / "tokenizer.json"))
        found[name] = load_tokenizer(directory)
    directory = tmp_path_factory.mktemp("bytes")
    (directory / "config.json").write_text(source.read_text().replace('e": 128', 'e": 256'))
    found["bytes"] = load_tokenizer(directory)
    return found


def streamed(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    stream = TextStream(tokenizer)
    return "".join([stream.push(token) for token in ids] + [stream.finish()])


NAMES = st.sampled_from(["byte-level", "sentence-piece", "bytes"])


@given(name=NAMES, text=st.text(max_size=40))
def test_text_survives(loaded: dict[str, Tokenizer], name: str, text: str):
    tokenizer = loaded[name]
    decoded = tokenizer.decode(tokenizer.encode(text))
    assert decoded == text or (name == "sentence-piece" and decoded.strip() == text.strip())


@given(name=NAMES, ids=st.lists(st.integers(0, 255), max_size=30))
def test_a_stream_gives_the_same_text(loaded: dict[str, Tokenizer], name: str, ids: list[int]):
    whole = loaded[name].decode(ids)
    if name != "sentence-piece" or "\ufffd" not in whole:  # see the test after this one
        assert streamed(loaded[name], ids) == whole


def test_a_stream_takes_nothing_back(loaded: dict[str, Tokenizer]):
    tokenizer = loaded["sentence-piece"]
    good, bad = 3 + ord("!"), 3 + 0x80
    assert tokenizer.decode([good, bad]) == "\ufffd\ufffd"
    assert streamed(tokenizer, [good, bad]) == "!\ufffd"


@given(name=NAMES, text=st.text(st.sampled_from("ab é日🙂"), max_size=20))
def test_a_stream_of_text(loaded: dict[str, Tokenizer], name: str, text: str):
    ids = loaded[name].encode(text)
    assert streamed(loaded[name], ids) == loaded[name].decode(ids)


def test_a_character_comes_whole(loaded: dict[str, Tokenizer]):
    stream = TextStream(loaded["bytes"])
    assert [stream.push(byte) for byte in "a🙂b".encode()] == ["a", "", "", "", "🙂", "b"]
    assert stream.push(0xF0) == ""
    assert stream.finish() == "\ufffd"


def test_special_tokens_are_added_and_left_out(loaded: dict[str, Tokenizer]):
    tokenizer = loaded["sentence-piece"]
    ids = tokenizer.encode("cat")
    assert ids[0] == 0
    assert tokenizer.decode([*ids, 1]) == "cat"


def test_notes(loaded: dict[str, Tokenizer]):
    assert loaded["byte-level"].note == ""
    assert "UTF-8 bytes are used as tokens" in loaded["bytes"].note


def test_ids_that_are_no_byte_have_no_text(loaded: dict[str, Tokenizer]):
    assert loaded["bytes"].decode([104, 256, 105]) == "hi"


def test_text_of_another_encoding(loaded: dict[str, Tokenizer]):
    for tokenizer in loaded.values():
        assert tokenizer.decode(tokenizer.encode("a\udc80b")) in ("a?b", "ab")


def test_a_vocabulary_too_small_for_bytes(edited: Edit):
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing") as info:
        load_tokenizer(edited("llama2-mha"))
    assert "vocabulary of 256 or more" in info.value.hint


def test_a_tokenizer_of_another_kind(edited: Edit):
    directory = edited("llama-odd")
    assert load_tokenizer(directory).note
    (directory / "tokenizer.model").write_bytes(b"\n")
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing") as info:
        load_tokenizer(directory)
    assert "tokenizer.model is not read" in info.value.hint


def test_a_malformed_tokenizer(edited: Edit):
    directory = edited("llama-odd")
    (directory / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json is malformed"):
        load_tokenizer(directory)


def test_the_tokenizer_of_another_model(edited: Edit):
    directory = edited("llama2-mha")
    byte_level().save(str(directory / "tokenizer.json"))
    with pytest.raises(ModelError, match=r"has ids up to \d+, but the model's `vocab_size` is 128"):
        load_tokenizer(directory)
