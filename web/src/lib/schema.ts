// Written by `make web` from the dataclasses in Python: change those.

export interface Network {
  readonly cell: "rnn-tanh" | "rnn-relu" | "lstm" | "lstm-1997" | "lstm-peephole" | "gru";
  readonly hidden: number;
  readonly init: "default" | "orthogonal" | "identity" | "chrono";
  readonly forget_bias: number | null;
  readonly gain: number;
}

export interface Settings {
  readonly first: Network;
  readonly second: Network;
  readonly steps: number;
  readonly signal: "noise" | "zeros" | "pulse" | "wave";
  readonly loss: "last" | "middle" | "every";
  readonly seed: number;
}

export interface SentenceSpec {
  readonly distance: number;
  readonly attractors: number;
  readonly number: "singular" | "plural";
  readonly seed: number;
  readonly budget: "short" | "long";
  readonly own: string;
}

export interface Beginning {
  readonly text: string;
}

export interface AccuracySpec {
  readonly budget: "short" | "long";
}

export interface Curves {
  readonly d_h: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly d_c: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly carousel: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly smallest_log10: number;
}

export interface Exploration {
  readonly first: Curves;
  readonly second: Curves;
}

export interface SentenceWord {
  readonly text: string;
  readonly role: "" | "subject" | "verb" | "attractor";
}

export interface Guess {
  readonly word: string;
  readonly probability: number;
}

export interface Prediction {
  readonly cell: "rnn" | "lstm";
  readonly preferred: string;
  readonly right: boolean;
  readonly share: number;
  readonly right_logit: number;
  readonly wrong_logit: number;
  readonly guesses: readonly Guess[];
  readonly d_h: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly d_word: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly horizon: string;
}

export interface SentenceAnswer {
  readonly words: readonly SentenceWord[];
  readonly text: string;
  readonly distance: number;
  readonly right_form: string;
  readonly wrong_form: string;
  readonly predictions: readonly Prediction[];
  readonly smallest_log10: number;
}

export interface WordGroup {
  readonly category: string;
  readonly words: readonly string[];
}

export interface Continuation {
  readonly text: string;
  readonly groups: readonly WordGroup[];
  readonly finished: boolean;
  readonly error: string;
}

export interface Share {
  readonly hits: number;
  readonly count: number;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface CurvePoint {
  readonly step: number;
  readonly value: number;
}

export interface CellAccuracy {
  readonly cell: "rnn" | "lstm";
  readonly parameters: number;
  readonly learning_rate: number;
  readonly within: Share;
  readonly beyond: Share;
  readonly others_within: readonly number[];
  readonly others_beyond: readonly number[];
  readonly by_distance: readonly Share[];
  readonly by_attractors: readonly Share[];
  readonly by_attractors_beyond: readonly Share[];
  readonly curve: readonly CurvePoint[];
}

export interface TrainingBudget {
  readonly name: "short" | "long";
  readonly steps: number;
}

export interface AccuracyTable {
  readonly cells: readonly CellAccuracy[];
  readonly steps: number;
  readonly budgets: readonly TrainingBudget[];
  readonly batch: number;
  readonly learning_rates: readonly number[];
  readonly trained_to: number;
  readonly tested_to: number;
  readonly attractors_from: number;
}

export type FieldKind =
  | { kind: "int" | "float"; low: number; high: number; step: number; optional: boolean }
  | { kind: "choice"; choices: readonly string[]; optional: boolean }
  | { kind: "flag"; optional: boolean }
  | { kind: "text"; most: number; optional: boolean }
  | { kind: "list"; least: number; most: number; of: FieldKind; optional: boolean }
  | { kind: "group"; fields: Fields; optional: boolean };
export type Fields = Readonly<Record<string, FieldKind>>;

export const NETWORK_FIELDS = {
  "cell": {
    "kind": "choice",
    "choices": [
      "rnn-tanh",
      "rnn-relu",
      "lstm",
      "lstm-1997",
      "lstm-peephole",
      "gru"
    ],
    "optional": false
  },
  "hidden": {
    "kind": "int",
    "low": 1,
    "high": 128,
    "step": 1,
    "optional": false
  },
  "init": {
    "kind": "choice",
    "choices": [
      "default",
      "orthogonal",
      "identity",
      "chrono"
    ],
    "optional": false
  },
  "forget_bias": {
    "kind": "float",
    "low": -10,
    "high": 10,
    "step": 0.1,
    "optional": true
  },
  "gain": {
    "kind": "float",
    "low": 0,
    "high": 4,
    "step": 0.05,
    "optional": false
  }
} as const satisfies Fields;

export const NETWORK_DEFAULTS: Network = {
  "cell": "lstm",
  "hidden": 64,
  "init": "default",
  "forget_bias": null,
  "gain": 1.0
};

export const SETTINGS_FIELDS = {
  "first": {
    "kind": "group",
    "fields": {
      "cell": {
        "kind": "choice",
        "choices": [
          "rnn-tanh",
          "rnn-relu",
          "lstm",
          "lstm-1997",
          "lstm-peephole",
          "gru"
        ],
        "optional": false
      },
      "hidden": {
        "kind": "int",
        "low": 1,
        "high": 128,
        "step": 1,
        "optional": false
      },
      "init": {
        "kind": "choice",
        "choices": [
          "default",
          "orthogonal",
          "identity",
          "chrono"
        ],
        "optional": false
      },
      "forget_bias": {
        "kind": "float",
        "low": -10,
        "high": 10,
        "step": 0.1,
        "optional": true
      },
      "gain": {
        "kind": "float",
        "low": 0,
        "high": 4,
        "step": 0.05,
        "optional": false
      }
    },
    "optional": false
  },
  "second": {
    "kind": "group",
    "fields": {
      "cell": {
        "kind": "choice",
        "choices": [
          "rnn-tanh",
          "rnn-relu",
          "lstm",
          "lstm-1997",
          "lstm-peephole",
          "gru"
        ],
        "optional": false
      },
      "hidden": {
        "kind": "int",
        "low": 1,
        "high": 128,
        "step": 1,
        "optional": false
      },
      "init": {
        "kind": "choice",
        "choices": [
          "default",
          "orthogonal",
          "identity",
          "chrono"
        ],
        "optional": false
      },
      "forget_bias": {
        "kind": "float",
        "low": -10,
        "high": 10,
        "step": 0.1,
        "optional": true
      },
      "gain": {
        "kind": "float",
        "low": 0,
        "high": 4,
        "step": 0.05,
        "optional": false
      }
    },
    "optional": false
  },
  "steps": {
    "kind": "int",
    "low": 1,
    "high": 500,
    "step": 1,
    "optional": false
  },
  "signal": {
    "kind": "choice",
    "choices": [
      "noise",
      "zeros",
      "pulse",
      "wave"
    ],
    "optional": false
  },
  "loss": {
    "kind": "choice",
    "choices": [
      "last",
      "middle",
      "every"
    ],
    "optional": false
  },
  "seed": {
    "kind": "int",
    "low": 0,
    "high": 9999,
    "step": 1,
    "optional": false
  }
} as const satisfies Fields;

export const SETTINGS_DEFAULTS: Settings = {
  "first": {
    "cell": "rnn-tanh",
    "hidden": 64,
    "init": "default",
    "forget_bias": null,
    "gain": 1.0
  },
  "second": {
    "cell": "lstm",
    "hidden": 64,
    "init": "default",
    "forget_bias": null,
    "gain": 1.0
  },
  "steps": 200,
  "signal": "noise",
  "loss": "last",
  "seed": 0
};

export const SENTENCE_SPEC_FIELDS = {
  "distance": {
    "kind": "int",
    "low": 1,
    "high": 100,
    "step": 1,
    "optional": false
  },
  "attractors": {
    "kind": "int",
    "low": 0,
    "high": 6,
    "step": 1,
    "optional": false
  },
  "number": {
    "kind": "choice",
    "choices": [
      "singular",
      "plural"
    ],
    "optional": false
  },
  "seed": {
    "kind": "int",
    "low": 0,
    "high": 9999,
    "step": 1,
    "optional": false
  },
  "budget": {
    "kind": "choice",
    "choices": [
      "short",
      "long"
    ],
    "optional": false
  },
  "own": {
    "kind": "text",
    "most": 1200,
    "optional": false
  }
} as const satisfies Fields;

export const SENTENCE_SPEC_DEFAULTS: SentenceSpec = {
  "distance": 12,
  "attractors": 2,
  "number": "singular",
  "seed": 0,
  "budget": "short",
  "own": ""
};

export const BEGINNING_FIELDS = {
  "text": {
    "kind": "text",
    "most": 1200,
    "optional": false
  }
} as const satisfies Fields;

export const BEGINNING_DEFAULTS: Beginning = {
  "text": ""
};

export const ACCURACY_SPEC_FIELDS = {
  "budget": {
    "kind": "choice",
    "choices": [
      "short",
      "long"
    ],
    "optional": false
  }
} as const satisfies Fields;

export const ACCURACY_SPEC_DEFAULTS: AccuracySpec = {
  "budget": "short"
};

export interface Endpoints {
  explore: { request: Settings; result: Exploration };
  sentence: { request: SentenceSpec; result: SentenceAnswer };
  continue: { request: Beginning; result: Continuation };
  agreement: { request: AccuracySpec; result: AccuracyTable };
}
