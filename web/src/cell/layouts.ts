/**
 * Where everything of a cell stands, by hand: one table for each cell, on a grid of columns and rows
 * that stretches with the page. A new cell is a new table.
 */
import type { CellSettings } from "../lib/schema";

export type CellName = CellSettings["network"]["cell"];

/** A point of the grid, and pixels beside it: lanes of one bus keep their distance at any width. */
export type Point = readonly [column: number, row: number, dx?: number, dy?: number];

export interface Place {
  readonly id: string; // in parts.ts
  readonly shape: "gate" | "operation" | "state";
  readonly at: Point;
  readonly face: string; // a symbol as in the equations, or the sign of an operation
  readonly colour: string; // of theme.css
}

/** What goes back over a wire: a gradient of this step, or a way's part of dL/ds at a step. */
export type Back =
  | { readonly gradient: string }
  | { readonly way: string; readonly at: "before" | "now" }
  | null;

export interface Wire {
  readonly from: string | Point; // a place, or a point on another wire
  readonly to: string | Point;
  readonly via?: readonly Point[];
  readonly leave?: readonly [dx: number, dy: number]; // where at the place it leaves,
  readonly enter?: readonly [dx: number, dy: number]; // and where it enters
  readonly carries: string; // the value that goes forward
  readonly back: Back;
  readonly colour: string;
  readonly dash?: string;
}

export interface Layout {
  readonly name: string; // in a sentence: "the LSTM"
  readonly rows: number; // the last row
  readonly places: readonly Place[];
  readonly wires: readonly Wire[];
}

const state = (id: string, at: Point, face: string, colour: string): Place => ({
  id,
  shape: "state",
  at,
  face,
  colour,
});
const gate = (id: string, at: Point, colour = `--${id}`): Place => ({
  id,
  shape: "gate",
  at,
  face: id,
  colour,
});
const operation = (id: string, at: Point, face: string, colour = "--ink"): Place => ({
  id,
  shape: "operation",
  at,
  face,
  colour,
});

const LANE = 7;

interface Lane {
  readonly id: string;
  readonly column: number;
  readonly way: string;
  readonly dx?: number; // where it enters, beside the middle
}

/** The h-bus: a lane for each gate, the nearest gate's on top, so that no lane crosses another. */
function lanes(
  gates: readonly Lane[],
  row: number,
  colours: Readonly<Record<string, string>>,
  down = false,
): Wire[] {
  return gates.map(({ id, column, way, dx = -8 }, lane) => {
    const dy = (lane - (gates.length - 1) / 2) * LANE;
    const corner: Point = [column, row, dx, dy];
    return {
      from: "h_prev",
      to: id,
      via: down ? [[0, row, -dy, dy], corner] : [corner],
      leave: down ? [-dy, 0] : [0, dy],
      enter: [dx, 0],
      carries: "h_prev",
      back: { way, at: "before" },
      colour: colours[way] ?? "--h",
    };
  });
}

function inputs(
  gates: readonly { readonly id: string; readonly column: number }[],
  row: number,
): Wire[] {
  return gates.map(({ id, column }) => ({
    from: "x",
    to: id,
    via: [[column, row, 10, 0]],
    enter: [10, 0],
    carries: "x_norm",
    back: null,
    colour: "--edge",
  }));
}

const LSTM_COLOURS = { i: "--i", f: "--f", g: "--g", o: "--o" };

function lstm(name: string, forget: boolean, peepholes: boolean): Layout {
  const columns = { f: 1, i: 2, g: 3, o: 4 };
  const gates = (forget ? (["f", "i", "g", "o"] as const) : (["i", "g", "o"] as const)).map(
    (id) => ({
      id,
      column: columns[id],
      way: id,
    }),
  );
  const c = { gradient: "c" } as const;
  const direct = { way: "direct", at: "before" } as const;
  const wires: Wire[] = [
    ...inputs(gates, 5),
    ...lanes(gates, 4, LSTM_COLOURS),
    ...(forget
      ? ([
          { from: "c_prev", to: "keep", carries: "c_prev", back: direct, colour: "--c" },
          { from: "keep", to: "sum", carries: "kept", back: c, colour: "--c" },
          { from: "f", to: "keep", carries: "f", back: { gradient: "a_f" }, colour: "--f" },
        ] as const)
      : ([{ from: "c_prev", to: "sum", carries: "kept", back: direct, colour: "--c" }] as const)),
    { from: "sum", to: [4, 0], carries: "c", back: c, colour: "--c" },
    { from: [4, 0], to: "c", carries: "c", back: { way: "direct", at: "now" }, colour: "--c" },
    { from: [4, 0], to: "tanh_c", carries: "c", back: { gradient: "c_from_h" }, colour: "--c" },
    {
      from: "i",
      to: "write",
      via: [[2, 1]],
      carries: "i",
      back: { gradient: "a_i" },
      colour: "--i",
    },
    {
      from: "g",
      to: "write",
      via: [[3, 1]],
      carries: "g",
      back: { gradient: "a_g" },
      colour: "--g",
    },
    { from: "write", to: "sum", carries: "written", back: c, colour: "--c" },
    { from: "tanh_c", to: "read", carries: "tanh_c", back: { gradient: "tanh_c" }, colour: "--c" },
    { from: "o", to: "read", carries: "o", back: { gradient: "a_o" }, colour: "--o" },
    { from: "read", to: "h", carries: "h", back: { gradient: "h" }, colour: "--h" },
  ];
  if (peepholes) wires.push(...PEEPHOLES);
  return {
    name,
    rows: 5,
    places: [
      state("x", [0, 5], "x_t", "--x"),
      state("h_prev", [0, 4], "h_t-1", "--h"),
      state("c_prev", [0, 0], "c_t-1", "--c"),
      ...gates.map(({ id, column }) => gate(id, [column, 3])),
      ...(forget ? [operation("keep", [1, 0], "×", "--f")] : []),
      operation("write", [2.5, 1], "×", "--i"),
      operation("sum", [2.5, 0], "+", "--c"),
      state("c", [5, 0], "c_t", "--c"),
      operation("tanh_c", [4, 1], "tanh", "--c"),
      operation("read", [4, 2], "×", "--o"),
      state("h", [5, 2], "h_t", "--h"),
    ],
    wires,
  };
}

const PEEPHOLES: readonly Wire[] = [
  {
    from: [0.52, 0],
    to: "f",
    via: [
      [0.52, 2.35],
      [1, 2.35, -13, 0],
    ],
    enter: [-13, 0],
    carries: "c_prev",
    back: { gradient: "a_f" },
    colour: "--f",
    dash: "5 4",
  },
  {
    from: [0.52, 0, 5, 0],
    to: "i",
    via: [
      [0.52, 2.2, 5, 0],
      [2, 2.2, -13, 0],
    ],
    enter: [-13, 0],
    carries: "c_prev",
    back: { gradient: "a_i" },
    colour: "--i",
    dash: "5 4",
  },
  {
    from: [4.46, 0],
    to: "o",
    via: [
      [4.46, 2.45],
      [4, 2.45, 13, 0],
    ],
    enter: [13, 0],
    carries: "c",
    back: { gradient: "a_o" },
    colour: "--o",
    dash: "5 4",
  },
];

const Z = { gradient: "a_z" } as const;

const GRU: Layout = {
  name: "the GRU",
  rows: 5,
  places: [
    state("x", [0, 5], "x_t", "--x"),
    state("h_prev", [0, 0], "h_t-1", "--h"),
    gate("z", [1, 3], "--f"),
    gate("r", [2, 3], "--i"),
    operation("reset", [3, 3], "×", "--i"),
    gate("n", [4, 3], "--g"),
    operation("keep", [1, 0], "×", "--f"),
    operation("one_minus_z", [2.5, 1], "1−", "--f"),
    operation("write", [4, 1], "×", "--g"),
    operation("sum", [4, 0], "+", "--h"),
    state("h", [5, 0], "h_t", "--h"),
  ],
  wires: [
    ...inputs(
      [
        { id: "z", column: 1 },
        { id: "r", column: 2 },
        { id: "n", column: 4 },
      ],
      5,
    ),
    ...lanes(
      [
        { id: "z", column: 1, way: "z" },
        { id: "r", column: 2, way: "r" },
        { id: "reset", column: 3, way: "n", dx: 0 },
      ],
      4,
      { z: "--f", r: "--i", n: "--g" },
      true,
    ),
    {
      from: "h_prev",
      to: "keep",
      carries: "h_prev",
      back: { way: "direct", at: "before" },
      colour: "--h",
    },
    { from: "keep", to: "sum", carries: "kept", back: { gradient: "h" }, colour: "--h" },
    { from: "sum", to: "h", carries: "h", back: { gradient: "h" }, colour: "--h" },
    { from: "z", to: "keep", carries: "z", back: Z, colour: "--f" },
    { from: [1, 1], to: "one_minus_z", carries: "z", back: Z, colour: "--f" },
    { from: "one_minus_z", to: "write", carries: "one_minus_z", back: Z, colour: "--f" },
    { from: "n", to: "write", carries: "n", back: { gradient: "a_n" }, colour: "--g" },
    { from: "write", to: "sum", carries: "written", back: { gradient: "h" }, colour: "--h" },
    { from: "r", to: "reset", carries: "r", back: { gradient: "a_r" }, colour: "--i" },
    { from: "reset", to: "n", carries: "reset", back: { gradient: "a_n" }, colour: "--g" },
  ],
};

function rnn(name: string): Layout {
  return {
    name,
    rows: 1,
    places: [
      state("x", [0, 1], "x_t", "--x"),
      state("h_prev", [0, 0], "h_t-1", "--h"),
      operation("activation", [2.5, 0], name.includes("relu") ? "relu" : "tanh", "--h"),
      state("h", [5, 0], "h_t", "--h"),
    ],
    wires: [
      {
        from: "x",
        to: "activation",
        via: [[2.5, 1]],
        carries: "x_norm",
        back: null,
        colour: "--edge",
      },
      {
        from: "h_prev",
        to: "activation",
        carries: "h_prev",
        back: { way: "h", at: "before" },
        colour: "--h",
      },
      { from: "activation", to: "h", carries: "h", back: { gradient: "h" }, colour: "--h" },
    ],
  };
}

export const LAYOUTS: Readonly<Record<CellName, Layout>> = {
  lstm: lstm("the LSTM", true, false),
  "lstm-peephole": lstm("the LSTM with peepholes", true, true),
  "lstm-1997": lstm("the LSTM of 1997", false, false),
  gru: GRU,
  "rnn-tanh": rnn("the tanh RNN"),
  "rnn-relu": rnn("the relu RNN"),
};
