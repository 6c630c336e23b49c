/** What the view can be set to, and which settings a cell has. */
import {
  CELL_SETTINGS_DEFAULTS,
  CELL_SETTINGS_FIELDS,
  type CellSettings,
  type Fields,
} from "../lib/schema";
import { type CellName, LAYOUTS } from "./layouts";

export interface ViewState extends CellSettings {
  readonly step: number;
  readonly flow: "forward" | "backward";
  readonly part: string;
}

export const VIEW_FIELDS = {
  ...CELL_SETTINGS_FIELDS,
  step: {
    kind: "int",
    low: 0,
    high: CELL_SETTINGS_FIELDS.steps.high - 1,
    step: 1,
    optional: false,
  },
  flow: { kind: "choice", choices: ["forward", "backward"], optional: false },
  part: { kind: "text", most: 12, optional: false },
} as const satisfies Fields;

export const VIEW_DEFAULTS: ViewState = {
  ...CELL_SETTINGS_DEFAULTS,
  step: 24,
  flow: "forward",
  part: "f",
};

type Init = CellSettings["network"]["init"];

export const forgets = (cell: CellName): boolean => cell === "lstm" || cell === "lstm-peephole";

/** The initialisations that a cell can have: chrono sets gates, the identity is for a simple RNN. */
export function initsOf(cell: CellName): readonly Init[] {
  if (cell.startsWith("rnn")) return ["default", "orthogonal", "identity"];
  return cell === "lstm-1997" ? ["default", "orthogonal"] : ["default", "orthogonal", "chrono"];
}

/** The same, with what does not go together set right: the server would refuse it. */
export function consistent(state: ViewState): ViewState {
  const { cell, hidden, init, forget_bias } = state.network;
  const layout = LAYOUTS[cell];
  const known = layout.places.some((place) => place.id === state.part);
  const gate = layout.places.find((place) => place.shape === "gate") ?? layout.places[2];
  return {
    ...state,
    network: {
      ...state.network,
      init: initsOf(cell).includes(init) ? init : "default",
      forget_bias: forgets(cell) && init !== "chrono" ? forget_bias : null,
    },
    unit: Math.min(state.unit, hidden - 1),
    step: Math.min(state.step, state.steps - 1),
    part: known ? state.part : (gate?.id ?? state.part),
  };
}

/** The request within the state. */
export function requestOf({ network, steps, signal, loss, seed, unit }: ViewState): CellSettings {
  return { network, steps, signal, loss, seed, unit };
}
