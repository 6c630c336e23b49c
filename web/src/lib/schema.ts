// Written by `make web` from the dataclasses in Python: change those.

export interface Network {
  readonly cell: "rnn-tanh" | "rnn-relu" | "lstm" | "lstm-1997" | "lstm-peephole" | "gru";
  readonly hidden: number;
  readonly init: "default" | "orthogonal" | "identity" | "chrono";
  readonly forget_bias: number | null;
  readonly gain: number;
}

export interface CellSettings {
  readonly network: Network;
  readonly steps: number;
  readonly signal: "noise" | "zeros" | "pulse" | "wave";
  readonly loss: "last" | "middle" | "every";
  readonly seed: number;
  readonly unit: number;
}

export interface Settings {
  readonly first: Network;
  readonly second: Network;
  readonly steps: number;
  readonly signal: "noise" | "zeros" | "pulse" | "wave";
  readonly loss: "last" | "middle" | "every";
  readonly seed: number;
}

export interface BankRequest {
}

export interface CellValues {
  readonly name: string;
  readonly of_unit: readonly (number | "infinite" | "minus infinite" | "nan")[];
  readonly mean: readonly (number | "infinite" | "minus infinite" | "nan")[];
}

export interface CellGradient {
  readonly name: string;
  readonly negative: readonly boolean[];
  readonly size: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly norm: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
}

export interface CellRun {
  readonly state: "c" | "h";
  readonly gates: readonly string[];
  readonly values: readonly CellValues[];
  readonly slopes: readonly CellValues[];
  readonly gradients: readonly CellGradient[];
  readonly ways: readonly CellGradient[];
  readonly smallest_log10: number;
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

export interface Objective {
  readonly id: string;
  readonly name: string;
}

export interface Choice {
  readonly text: string;
  readonly right: boolean;
  readonly feedback: string;
}

export interface Question {
  readonly id: string;
  readonly objective: string;
  readonly text: string;
  readonly options: readonly Choice[];
  readonly source: string;
  readonly link: string;
  readonly shows: string;
}

export interface Bank {
  readonly objectives: readonly Objective[];
  readonly questions: readonly Question[];
  readonly drawn: number;
  readonly pass_percent: number;
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

export const CELL_SETTINGS_FIELDS = {
  "network": {
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
    "high": 200,
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
  },
  "unit": {
    "kind": "int",
    "low": 0,
    "high": 127,
    "step": 1,
    "optional": false
  }
} as const satisfies Fields;

export const CELL_SETTINGS_DEFAULTS: CellSettings = {
  "network": {
    "cell": "lstm",
    "hidden": 8,
    "init": "default",
    "forget_bias": null,
    "gain": 1.0
  },
  "steps": 30,
  "signal": "noise",
  "loss": "last",
  "seed": 0,
  "unit": 0
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

export const BANK_REQUEST_FIELDS = {} as const satisfies Fields;

export const BANK_REQUEST_DEFAULTS: BankRequest = {};

export interface Endpoints {
  cell: { request: CellSettings; result: CellRun };
  explore: { request: Settings; result: Exploration };
  quiz: { request: BankRequest; result: Bank };
}
