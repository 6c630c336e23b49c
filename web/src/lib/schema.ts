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

export interface Endpoints {
  explore: { request: Settings; result: Exploration };
  model: { request: ModelRequest; result: ModelOverview };
  model_layer: { request: ModelLayerRequest; result: ModelLayer };
  model_map: { request: ModelMapRequest; result: ModelMap };
  model_products: { request: ModelProductsRequest; result: ModelProducts };
}
