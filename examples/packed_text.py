"""A sentence classifier on packed sequences of different lengths, both directions measured.

Sentences are lists of word numbers; the label is whether the first word is an even number.
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import carousel

WORDS, HIDDEN = 50, 24


class Classifier(nn.Module):
    """Word embeddings, a bidirectional LSTM over packed sentences, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16)
        self.lstm = nn.LSTM(16, HIDDEN, bidirectional=True)
        self.head = nn.Linear(2 * HIDDEN, 2)

    def forward(self, sentences: list[torch.Tensor]) -> torch.Tensor:
        """Sentences of any lengths -> logits [B, 2]."""
        packed = pack_sequence([self.embedding(s) for s in sentences], enforce_sorted=False)
        _, (h_n, _) = self.lstm(packed)
        return self.head(torch.cat([h_n[0], h_n[1]], dim=1))


def main() -> None:
    """Measure one batch, without a training step, and print the report."""
    torch.manual_seed(0)
    sentences = [torch.randint(WORDS, (length,)) for length in (31, 12, 24, 7, 18)]
    labels = torch.tensor([int(sentence[0]) % 2 for sentence in sentences])
    model = Classifier()
    flow = carousel.measure(model, (sentences, labels), nn.functional.cross_entropy)

    carousel.Report(flow, title="A text model with packed sequences").print()
    forward = flow["lstm.l0"]
    for sequence, length in enumerate(forward.lengths.tolist()):
        log10 = forward.log10_norm("d_h")[:length, sequence]
        print(
            f"sentence of {length:2d} words: log10 |dL/dh| {log10[0]:6.2f} at its first word, "
            f"{log10[-1]:6.2f} at its last"
        )


if __name__ == "__main__":
    main()
