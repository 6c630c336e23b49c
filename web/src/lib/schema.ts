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

export interface LessonRequest {
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

export interface LessonPower {
  readonly factor: number;
  readonly after: number | "zero" | "infinite" | "nan" | "padding";
  readonly exact: number;
}

export interface LessonPowers {
  readonly steps: number;
  readonly below: LessonPower;
  readonly one: LessonPower;
  readonly above: LessonPower;
  readonly lost_steps: number;
  readonly overflow_steps: number;
}

export interface LessonSlopes {
  readonly sigmoid: number;
  readonly tanh: number;
  readonly state: number;
  readonly weight: number;
  readonly factor: number;
  readonly after: number | "zero" | "infinite" | "nan" | "padding";
  readonly tanh_weight: number;
  readonly tanh_factor: number;
  readonly must_vanish_below: number;
  readonly large_weight: number;
  readonly linear_after: number | "zero" | "infinite" | "nan" | "padding";
  readonly squashed_after: number | "zero" | "infinite" | "nan" | "padding";
  readonly start: number;
  readonly rests_at: number;
}

export interface LessonGate {
  readonly bias: number;
  readonly f: number;
  readonly slope: number;
  readonly horizon_steps: number;
  readonly half_life_steps: number;
  readonly after: number | "zero" | "infinite" | "nan" | "padding";
}

export interface LessonGates {
  readonly steps: number;
  readonly torch: LessonGate;
  readonly unit: LessonGate;
  readonly three: LessonGate;
  readonly five: LessonGate;
  readonly nine: LessonGate;
  readonly ten: LessonGate;
  readonly chrono_10: LessonGate;
  readonly chrono_100: LessonGate;
  readonly chrono_1000: LessonGate;
  readonly bias_for_100: number;
  readonly biases: readonly number[];
  readonly horizons: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
}

export interface LessonReached {
  readonly reach_steps: number;
  readonly least_steps: number;
  readonly most_steps: number;
  readonly everywhere: boolean;
  readonly rate: number;
  readonly horizon_steps: number | null;
}

export interface LessonReach {
  readonly rnn: LessonReached;
  readonly rnn_orthogonal: LessonReached;
  readonly lstm: LessonReached;
  readonly lstm_bias_1: LessonReached;
  readonly lstm_bias_3: LessonReached;
  readonly lstm_chrono: LessonReached;
  readonly gru: LessonReached;
}

export interface LessonTerm {
  readonly name: string;
  readonly torch: number;
  readonly bias_1: number;
  readonly bias_3: number;
}

export interface LessonShare {
  readonly lag: number;
  readonly carousel: number | "zero" | "infinite" | "nan" | "padding";
  readonly full: number | "zero" | "infinite" | "nan" | "padding";
}

export interface LessonStep {
  readonly step: number;
  readonly seed: number;
  readonly terms: readonly LessonTerm[];
  readonly smallest_forget: number;
  readonly largest_forget: number;
  readonly shares: readonly LessonShare[];
  readonly entered: number;
}

export interface LessonConstant {
  readonly smallest: number;
  readonly largest: number;
  readonly full: number | "zero" | "infinite" | "nan" | "padding";
  readonly size: number;
  readonly size_forget: number;
}

export interface LessonDoubling {
  readonly total: readonly number[];
  readonly injected: readonly number[];
  readonly steps: number;
  readonly real_total: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly real_injected: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly smallest_log10: number;
}

export interface LessonClipping {
  readonly gain: number;
  readonly steps: number;
  readonly growth: number | "zero" | "infinite" | "nan" | "padding";
  readonly norm: number;
  readonly limit: number;
  readonly factor: number;
  readonly vanished: number | "zero" | "infinite" | "nan" | "padding";
  readonly vanished_norm: number;
  readonly vanished_factor: number;
  readonly window_steps: number;
}

export interface LessonPresets {
  readonly plain: Settings;
  readonly large: Settings;
  readonly copying: Settings;
  readonly torch: Settings;
  readonly bias_1: Settings;
  readonly bias_3: Settings;
  readonly bias_5: Settings;
  readonly chrono: Settings;
  readonly original: Settings;
  readonly gru: Settings;
}

export interface Lesson {
  readonly hidden: number;
  readonly inputs: number;
  readonly steps: number;
  readonly seeds: number;
  readonly powers: LessonPowers;
  readonly slopes: LessonSlopes;
  readonly gates: LessonGates;
  readonly reach: LessonReach;
  readonly one_step: LessonStep;
  readonly constant: LessonConstant;
  readonly doubling: LessonDoubling;
  readonly clipping: LessonClipping;
  readonly presets: LessonPresets;
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

export const LESSON_REQUEST_FIELDS = {} as const satisfies Fields;

export const LESSON_REQUEST_DEFAULTS: LessonRequest = {};

export interface Endpoints {
  explore: { request: Settings; result: Exploration };
  lesson: { request: LessonRequest; result: Lesson };
}
