"""Text to token ids and back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import tokenizers

from tapeout.errors import ModelError
from tapeout.model.load import load_architecture

BYTES = 256
UNFINISHED = "\ufffd"  # what decoders give for bytes that are not yet a character
FILE = "tokenizer.json"
OTHER_FILES = ("tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "merges.txt")


class Tokenizer(Protocol):
    """Text to token ids and back. `note` tells the user of a choice made for them, or is empty."""

    note: str

    def encode(self, text: str) -> list[int]:
        """The ids of a text, with the special tokens that the model expects around it."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens are left out."""
        ...


class FileTokenizer:
    """The tokenizer that a `tokenizer.json` describes."""

    def __init__(self, path: Path) -> None:
        self.note = ""
        try:
            self._inner = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise ModelError(f"{FILE} is malformed: {error!s:.200}", where=str(path)) from error

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self._inner.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def encode(self, text: str) -> list[int]:
        """The ids of a text, with the special tokens that the file adds."""
        return list(self._inner.encode(_sound(text)).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens are left out."""
        return self._inner.decode(list(ids), skip_special_tokens=True)


class ByteTokenizer:
    """UTF-8 bytes as ids; ids from 256 on have no text."""

    note = f"no {FILE}: UTF-8 bytes are used as tokens"

    def encode(self, text: str) -> list[int]:
        """The bytes of a text."""
        return list(_sound(text).encode())

    def decode(self, ids: Sequence[int]) -> str:
        """The text of bytes; what is no UTF-8 becomes U+FFFD."""
        return bytes(i for i in ids if i < BYTES).decode(errors="replace")


class TextStream:
    """Text from tokens as they come: a character is given once all of its tokens are there.

    The pieces together are `decode` of all tokens, but for bytes that are no UTF-8, where some
    decoders replace good bytes before them too: what was given is not taken back.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []  # those given last, for context (a leading space), then new ones
        self._given = 0

    def push(self, token: int) -> str:
        """The text that became certain with this token; often "", or several characters."""
        self._ids.append(token)
        text = self._new_text()
        if not text or text.endswith(UNFINISHED):
            return ""
        self._ids = self._ids[self._given :]
        self._given = len(self._ids)
        return text

    def finish(self) -> str:
        """What is left: U+FFFD for bytes that never became a character."""
        return self._new_text()

    def _new_text(self) -> str:
        before = self._tokenizer.decode(self._ids[: self._given])
        return self._tokenizer.decode(self._ids)[len(before) :]


def load_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a model's directory: its `tokenizer.json`, or bytes if it has no tokenizer.

    Raises:
        ModelError: the file is malformed, does not fit the model's vocabulary, or is of a kind
            that is not read.
    """
    vocab_size = load_architecture(directory).vocab_size
    path = directory / FILE
    if path.exists():
        tokenizer = FileTokenizer(path)
        if tokenizer.vocab_size > vocab_size:
            raise ModelError(
                f"{FILE} has ids up to {tokenizer.vocab_size - 1}, but the model's `vocab_size` is"
                f" {vocab_size}",
                where=str(path),
                hint="the tokenizer of another model?",
            )
        return tokenizer
    other = next((name for name in OTHER_FILES if (directory / name).exists()), None)
    if other is not None or vocab_size < BYTES:
        raise ModelError(
            f"{FILE} is missing",
            where=str(directory),
            hint=f"{other} is not read: convert it with AutoTokenizer(...).save_pretrained()"
            if other
            else f"without it bytes are the tokens, which takes a vocabulary of {BYTES} or more",
        )
    return ByteTokenizer()


def _sound(text: str) -> str:
    """Text with "?" for lone surrogates, which a command line in another encoding can hold."""
    return text.encode(errors="replace").decode()
