/** The explorer's choices in words. */
import type { Network, Settings } from "../lib/schema";

export const CELLS: Readonly<Record<Network["cell"], string>> = {
  "rnn-tanh": "RNN, tanh",
  "rnn-relu": "RNN, relu",
  lstm: "LSTM",
  "lstm-1997": "LSTM of 1997",
  "lstm-peephole": "LSTM, peepholes",
  gru: "GRU",
};

export const INITS: Readonly<Record<Network["init"], string>> = {
  default: "as PyTorch draws",
  orthogonal: "orthogonal",
  identity: "identity",
  chrono: "chrono",
};

export const GRADIENTS: Readonly<Record<Network["gradient"], string>> = {
  full: "the full one",
  "1997": "truncated, as in 1997",
};

export const SIGNALS: Readonly<Record<Settings["signal"], string>> = {
  noise: "noise, N(0, 1)",
  zeros: "nothing (zeros)",
  pulse: "a pulse at step 0",
  wave: "a wave of 20 steps",
};

export const LOSSES: Readonly<Record<Settings["loss"], string>> = {
  last: "at the last step",
  middle: "in the middle",
  every: "at every step",
};

/** What a teacher's link can lock, by the name of the field. */
export const FIELD_NAMES: Readonly<Record<string, string>> = {
  cell: "cell",
  hidden: "units",
  init: "start",
  forget_bias: "forget bias",
  gain: "gain",
  gradient: "gradient",
  steps: "steps",
  signal: "input",
  loss: "loss",
  seed: "seed",
  m: "multiplier",
  n: "steps of the multiplier",
};
