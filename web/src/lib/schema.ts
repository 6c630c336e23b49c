// Written by `make web` from the dataclasses in Python: change those.

export interface AccuracySpec {
  readonly budget: "short" | "long";
}

export interface Network {
  readonly cell: "rnn-tanh" | "rnn-relu" | "lstm" | "lstm-1997" | "lstm-peephole" | "gru";
  readonly hidden: number;
  readonly init: "default" | "orthogonal" | "identity" | "chrono";
  readonly forget_bias: number | null;
  readonly gain: number;
  readonly gradient: "full" | "1997";
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

export interface CodeRequest {
  readonly settings: Settings;
  readonly figure: "gradients" | "products" | "spectra" | "itemised";
}

export interface Beginning {
  readonly text: string;
}

export interface LessonRequest {
}

export interface MatrixRequest {
  readonly settings: Settings;
  readonly which: "first" | "second";
}

export interface ModelRequest {
}

export interface ModelLayerRequest {
  readonly layer: string;
}

export interface ModelMapRequest {
  readonly layer: string;
  readonly quantity: "d_h" | "d_h_injected" | "d_c";
}

export interface ModelProductsRequest {
  readonly layer: string;
  readonly sequences: number;
  readonly lag: number;
}

export interface PowerRequest {
  readonly factor: number;
  readonly steps: number;
}

export interface Nothing {
}

export interface BankRequest {
}

export interface SentenceSpec {
  readonly distance: number;
  readonly attractors: number;
  readonly number: "singular" | "plural";
  readonly seed: number;
  readonly budget: "short" | "long";
  readonly own: string;
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

export interface SeedAccuracy {
  readonly seed: number;
  readonly within: number;
  readonly beyond: number;
  readonly by_distance: readonly number[];
  readonly by_attractors: readonly number[];
  readonly by_attractors_beyond: readonly number[];
  readonly curve: readonly CurvePoint[];
}

export interface CellAccuracy {
  readonly cell: "rnn" | "lstm";
  readonly parameters: number;
  readonly learning_rate: number;
  readonly within: Share;
  readonly beyond: Share;
  readonly seed: number;
  readonly by_distance: readonly Share[];
  readonly by_attractors: readonly Share[];
  readonly by_attractors_beyond: readonly Share[];
  readonly curve: readonly CurvePoint[];
  readonly others: readonly SeedAccuracy[];
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
  readonly validation: number;
  readonly tests: number;
  readonly tested_to: number;
  readonly attractors_from: number;
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

export interface Code {
  readonly text: string;
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

export interface Unused {
  readonly field: string;
  readonly choice: string;
  readonly reason: string;
}

export interface Curves {
  readonly name: string;
  readonly d_h: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly d_c: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly carousel: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly smallest_log10: number;
  readonly largest_log10: number;
  readonly unused: readonly Unused[];
  readonly ignored: readonly string[];
}

export interface Exploration {
  readonly first: Curves;
  readonly second: Curves;
  readonly loss_step: number;
}

export interface HorizonSaid {
  readonly name: string;
  readonly kind: string;
  readonly sentence: string;
  readonly steps: number | null;
}

export interface Horizons {
  readonly first: HorizonSaid;
  readonly second: HorizonSaid;
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
  readonly each_step: number;
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
  readonly lag: number;
  readonly gain: number | "zero" | "infinite" | "nan" | "padding";
  readonly rnn_left: number | "zero" | "infinite" | "nan" | "padding";
  readonly torch_left: number | "zero" | "infinite" | "nan" | "padding";
  readonly torch_gain: number | "zero" | "infinite" | "nan" | "padding";
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

export interface Matrix {
  readonly name: string;
  readonly losses: readonly number[];
  readonly steps: readonly number[];
  readonly log10: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly own: number | null;
  readonly far_steps: number;
  readonly far: number | null;
}

export interface ModelEntry {
  readonly key: string;
  readonly name: string;
  readonly identity: string;
  readonly horizon: string;
  readonly severity: string;
}

export interface Measured {
  readonly name: string;
  readonly value: number | "infinite" | "minus infinite" | "nan";
}

export interface ModelPlace {
  readonly layer: string;
  readonly name: string;
  readonly sentence: string;
  readonly evidence: readonly Measured[];
  readonly threshold: number | null;
}

export interface ModelCure {
  readonly name: string;
  readonly sentence: string;
  readonly code: string;
}

export interface ModelRemedy {
  readonly name: string;
  readonly keeps_weights: boolean;
  readonly cures: readonly ModelCure[];
}

export interface ModelFinding {
  readonly rule: string;
  readonly title: string;
  readonly severity: string;
  readonly source: string;
  readonly places: readonly ModelPlace[];
  readonly remedies: readonly ModelRemedy[];
}

export interface ModelOverview {
  readonly target: string | null;
  readonly said: string;
  readonly lag: number | null;
  readonly layers: readonly ModelEntry[];
  readonly faults: readonly string[];
  readonly remarks: readonly string[];
  readonly findings: readonly ModelFinding[];
}

export interface ModelEnd {
  readonly step: number;
  readonly sequences: number;
}

export interface ModelBand {
  readonly quantity: string;
  readonly median: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly low: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly high: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
}

export interface ModelShare {
  readonly name: string;
  readonly share: readonly (number | null)[];
}

export interface ModelGate {
  readonly name: string;
  readonly lowest: number;
  readonly highest: number;
  readonly mean: readonly (number | null)[];
  readonly low: readonly (number | null)[];
  readonly high: readonly (number | null)[];
  readonly saturated: number | null;
}

export interface ModelLayer {
  readonly key: string;
  readonly name: string;
  readonly identity: string;
  readonly horizon: string;
  readonly course: string;
  readonly certificate: string;
  readonly certified: boolean;
  readonly notes: readonly string[];
  readonly direction: string;
  readonly steps: number;
  readonly batch: number;
  readonly stride: number;
  readonly boundaries: readonly number[];
  readonly cuts: readonly number[];
  readonly ends: readonly ModelEnd[];
  readonly whole: number;
  readonly smallest_log10: number;
  readonly bands: readonly ModelBand[];
  readonly sampled: number;
  readonly state: string;
  readonly paths: readonly ModelShare[];
  readonly gates: readonly ModelGate[];
}

export interface ModelMap {
  readonly quantity: string;
  readonly rows: number;
  readonly columns: number;
  readonly stride: number;
  readonly steps: number;
  readonly levels: string;
  readonly categories: string;
  readonly sentence: string;
}

export interface ModelProducts {
  readonly sequences: readonly number[];
  readonly norm: string;
  readonly norms: ModelBand;
  readonly carousel: ModelBand | null;
  readonly smallest_log10: number;
  readonly lag: number;
  readonly values: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly sentence: string;
}

export interface Power {
  readonly log10: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly exact: string | null;
  readonly scientific: string;
  readonly regime: "vanishes" | "carried" | "explodes";
  readonly bound: number;
  readonly passes: number | null;
}

export interface Preset {
  readonly name: string;
  readonly says: string;
  readonly settings: Settings;
}

export interface Presets {
  readonly presets: readonly Preset[];
}

export interface SingularValues {
  readonly lag: number;
  readonly log10: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
}

export interface ProductsOf {
  readonly name: string;
  readonly log10_by_lag: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly singular: readonly SingularValues[];
}

export interface Products {
  readonly first: ProductsOf;
  readonly second: ProductsOf;
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
  readonly part: "training" | "validation" | "test";
}

export interface SpectrumOf {
  readonly name: string;
  readonly sentence: string;
  readonly exponents: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
  readonly standard_errors: readonly (number | "zero" | "infinite" | "nan" | "padding")[];
}

export interface Spectra {
  readonly first: SpectrumOf;
  readonly second: SpectrumOf;
}

export type FieldKind =
  | { kind: "int" | "float"; low: number; high: number; step: number; optional: boolean }
  | { kind: "choice"; choices: readonly string[]; optional: boolean }
  | { kind: "flag"; optional: boolean }
  | { kind: "text"; most: number; optional: boolean }
  | { kind: "list"; least: number; most: number; of: FieldKind; optional: boolean }
  | { kind: "group"; fields: Fields; optional: boolean };
export type Fields = Readonly<Record<string, FieldKind>>;

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
  "budget": "long"
};

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
  },
  "gradient": {
    "kind": "choice",
    "choices": [
      "full",
      "1997"
    ],
    "optional": false
  }
} as const satisfies Fields;

export const NETWORK_DEFAULTS: Network = {
  "cell": "lstm",
  "hidden": 64,
  "init": "default",
  "forget_bias": null,
  "gain": 1.0,
  "gradient": "full"
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
      },
      "gradient": {
        "kind": "choice",
        "choices": [
          "full",
          "1997"
        ],
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
    "gain": 1.0,
    "gradient": "full"
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
      },
      "gradient": {
        "kind": "choice",
        "choices": [
          "full",
          "1997"
        ],
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
      },
      "gradient": {
        "kind": "choice",
        "choices": [
          "full",
          "1997"
        ],
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
    "gain": 1.0,
    "gradient": "full"
  },
  "second": {
    "cell": "lstm",
    "hidden": 64,
    "init": "default",
    "forget_bias": null,
    "gain": 1.0,
    "gradient": "full"
  },
  "steps": 200,
  "signal": "noise",
  "loss": "last",
  "seed": 0
};

export const CODE_REQUEST_FIELDS = {
  "settings": {
    "kind": "group",
    "fields": {
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
          },
          "gradient": {
            "kind": "choice",
            "choices": [
              "full",
              "1997"
            ],
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
          },
          "gradient": {
            "kind": "choice",
            "choices": [
              "full",
              "1997"
            ],
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
    },
    "optional": false
  },
  "figure": {
    "kind": "choice",
    "choices": [
      "gradients",
      "products",
      "spectra",
      "itemised"
    ],
    "optional": false
  }
} as const satisfies Fields;

export const CODE_REQUEST_DEFAULTS: CodeRequest = {
  "settings": {
    "first": {
      "cell": "rnn-tanh",
      "hidden": 64,
      "init": "default",
      "forget_bias": null,
      "gain": 1.0,
      "gradient": "full"
    },
    "second": {
      "cell": "lstm",
      "hidden": 64,
      "init": "default",
      "forget_bias": null,
      "gain": 1.0,
      "gradient": "full"
    },
    "steps": 200,
    "signal": "noise",
    "loss": "last",
    "seed": 0
  },
  "figure": "gradients"
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

export const LESSON_REQUEST_FIELDS = {} as const satisfies Fields;

export const LESSON_REQUEST_DEFAULTS: LessonRequest = {};

export const MATRIX_REQUEST_FIELDS = {
  "settings": {
    "kind": "group",
    "fields": {
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
          },
          "gradient": {
            "kind": "choice",
            "choices": [
              "full",
              "1997"
            ],
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
          },
          "gradient": {
            "kind": "choice",
            "choices": [
              "full",
              "1997"
            ],
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
    },
    "optional": false
  },
  "which": {
    "kind": "choice",
    "choices": [
      "first",
      "second"
    ],
    "optional": false
  }
} as const satisfies Fields;

export const MATRIX_REQUEST_DEFAULTS: MatrixRequest = {
  "settings": {
    "first": {
      "cell": "rnn-tanh",
      "hidden": 64,
      "init": "default",
      "forget_bias": null,
      "gain": 1.0,
      "gradient": "full"
    },
    "second": {
      "cell": "lstm",
      "hidden": 64,
      "init": "default",
      "forget_bias": null,
      "gain": 1.0,
      "gradient": "full"
    },
    "steps": 200,
    "signal": "noise",
    "loss": "every",
    "seed": 0
  },
  "which": "first"
};

export const MODEL_REQUEST_FIELDS = {} as const satisfies Fields;

export const MODEL_REQUEST_DEFAULTS: ModelRequest = {};

export const MODEL_LAYER_REQUEST_FIELDS = {
  "layer": {
    "kind": "text",
    "most": 300,
    "optional": false
  }
} as const satisfies Fields;

export const MODEL_MAP_REQUEST_FIELDS = {
  "layer": {
    "kind": "text",
    "most": 300,
    "optional": false
  },
  "quantity": {
    "kind": "choice",
    "choices": [
      "d_h",
      "d_h_injected",
      "d_c"
    ],
    "optional": false
  }
} as const satisfies Fields;

export const MODEL_PRODUCTS_REQUEST_FIELDS = {
  "layer": {
    "kind": "text",
    "most": 300,
    "optional": false
  },
  "sequences": {
    "kind": "int",
    "low": 1,
    "high": 32,
    "step": 1,
    "optional": false
  },
  "lag": {
    "kind": "int",
    "low": 1,
    "high": 10000,
    "step": 1,
    "optional": false
  }
} as const satisfies Fields;

export const POWER_REQUEST_FIELDS = {
  "factor": {
    "kind": "float",
    "low": 0.1,
    "high": 2,
    "step": 0.01,
    "optional": false
  },
  "steps": {
    "kind": "int",
    "low": 1,
    "high": 200,
    "step": 1,
    "optional": false
  }
} as const satisfies Fields;

export const POWER_REQUEST_DEFAULTS: PowerRequest = {
  "factor": 0.5,
  "steps": 20
};

export const NOTHING_FIELDS = {} as const satisfies Fields;

export const NOTHING_DEFAULTS: Nothing = {};

export const BANK_REQUEST_FIELDS = {} as const satisfies Fields;

export const BANK_REQUEST_DEFAULTS: BankRequest = {};

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
  "seed": 1880,
  "budget": "long",
  "own": ""
};

export interface Endpoints {
  agreement: { request: AccuracySpec; result: AccuracyTable };
  cell: { request: CellSettings; result: CellRun };
  code: { request: CodeRequest; result: Code };
  continue: { request: Beginning; result: Continuation };
  explore: { request: Settings; result: Exploration };
  horizons: { request: Settings; result: Horizons };
  lesson: { request: LessonRequest; result: Lesson };
  matrix: { request: MatrixRequest; result: Matrix };
  model: { request: ModelRequest; result: ModelOverview };
  model_layer: { request: ModelLayerRequest; result: ModelLayer };
  model_map: { request: ModelMapRequest; result: ModelMap };
  model_products: { request: ModelProductsRequest; result: ModelProducts };
  power: { request: PowerRequest; result: Power };
  presets: { request: Nothing; result: Presets };
  products: { request: Settings; result: Products };
  quiz: { request: BankRequest; result: Bank };
  sentence: { request: SentenceSpec; result: SentenceAnswer };
  spectra: { request: Settings; result: Spectra };
}
