/** What each place of a diagram is: its equations, its numbers, and what it does to the gradient. */
import type { CellName } from "./layouts";
import { type Reader, shareText, signedText, valueText } from "./numbers";

export interface Part {
  readonly name: string;
  readonly equations: readonly string[];
  readonly value: string; // in the run's values
  readonly before?: string; // the value that an activation is taken of
  readonly slope?: { readonly equation: string; readonly of: string };
  readonly gradient?: { readonly equation: string; readonly of: string }; // in its gradients
  readonly way?: string; // in its ways: of dL/ds of the step before
  readonly says: (reader: Reader) => string;
}

const value = (r: Reader, name: string) => valueText(r.value(name));
const gradient = (r: Reader, name: string) => signedText(r.gradient(name));
const state = (r: Reader, at: "before" | "now") =>
  `∂L/∂${r.run.state}${at === "now" ? "_t" : "_t-1"}`;

/** Of the largest slope that the activation has anywhere. */
function ofSlope(r: Reader, gate: string, most: number): string {
  const slope = r.slope(gate);
  if (typeof slope !== "number") return `Its slope is ${valueText(slope)}.`;
  return `Its slope is ${valueText(slope)}, ${Number(((100 * slope) / most).toPrecision(3))} % of the steepest that this activation can be.`;
}

/** What this step sends back by a way, and how much of the total that is. */
function sends(r: Reader, way: string, through: string): string {
  const part = r.way(way);
  if (r.step === 0) return "Before step 0 there is no step to send a gradient to.";
  const share = r.share(way);
  const sent = `${through}, step ${r.step} sends ${signedText(part)} to ${state(r, "before")} of unit ${r.unit}`;
  return share === null ? `${sent}.` : `${sent}: ${shareText(share)}.`;
}

const gates = (r: Reader, name: string) =>
  `Through the ${name}s of ${r.units === 1 ? "its one unit" : `all ${r.units} units`}`;

const WORDS: Readonly<Record<string, string>> = {
  direct: "along the carousel",
  injected: "from outside at that step",
  i: "through the input gates",
  f: "through the forget gates",
  g: "through the candidates",
  o: "through the output gates",
  r: "through the reset gates",
  z: "through the update gates",
  n: "through the candidates",
  h: "through the recurrent weights",
};

/** The total and all the ways that it came. */
export function itemised(r: Reader, at: "before" | "now"): string {
  if (at === "before" && r.step === 0)
    return "Step 0 starts from zero, and no step lies before it.";
  const step = at === "now" ? r.step : r.step - 1;
  const total = signedText(r.gradient(r.run.state, step));
  const parts = r.run.ways
    .filter(({ name }) => r.way(name, at).size !== "zero")
    .map(({ name }) => `${signedText(r.way(name, at))} ${WORDS[name] ?? name}`);
  if (parts.length === 0) return `${state(r, at)} = ${total}: nothing comes back to it.`;
  return `${state(r, at)} = ${total} in total: ${parts.join(", ")}.`;
}

const argument = (gate: string, peephole?: string) =>
  `a_${gate} = W_i${gate} x_t + b_i${gate} + W_h${gate} h_t-1 + b_h${gate}${peephole ? ` + p_${gate} · ${peephole}` : ""}`;

/** A gate with a sigmoid. */
function sigmoid(
  gate: string,
  name: string,
  chain: string,
  does: (r: Reader) => string,
  peephole?: string,
): Part {
  return {
    name,
    equations: [`${gate}_t = σ ( a_${gate} )`, argument(gate, peephole)],
    value: gate,
    before: `a_${gate}`,
    slope: { equation: `${gate}_t · ( 1 − ${gate}_t )`, of: gate },
    gradient: {
      equation: `∂L/∂a_${gate} = ${chain} · ${gate}_t · ( 1 − ${gate}_t )`,
      of: `a_${gate}`,
    },
    way: gate,
    says: (r) =>
      `${does(r)} ${ofSlope(r, gate, 0.25)} ${sends(r, gate, gates(r, name.toLowerCase()))}`,
  };
}

/** What the cell might take up: a tanh. */
function candidate(gate: string, argumentOf: readonly string[], chain: string): Part {
  return {
    name: "Candidate",
    equations: [`${gate}_t = tanh ( a_${gate} )`, ...argumentOf],
    value: gate,
    before: `a_${gate}`,
    slope: { equation: `1 − ${gate}_t^2`, of: gate },
    gradient: { equation: `∂L/∂a_${gate} = ${chain} · ( 1 − ${gate}_t^2 )`, of: `a_${gate}` },
    way: gate,
    says: (r) =>
      `What the step could write is ${value(r, gate)}. ${ofSlope(r, gate, 1)} ${sends(r, gate, gates(r, "candidate"))}`,
  };
}

const INPUT: Part = {
  name: "Input",
  equations: ["‖ x_t ‖"],
  value: "x_norm",
  says: (r) =>
    `The input of step ${r.step} has the norm ${value(r, "x_norm")}. It is given, not learned, so no gradient is followed into it.`,
};

const H_PREV: Part = {
  name: "Hidden state before",
  equations: ["h_t-1"],
  value: "h_prev",
  gradient: { equation: "∂L/∂h_t-1", of: "h_prev" },
  says: (r) =>
    r.step === 0
      ? "Step 0 starts from zero, and no step lies before it."
      : `In total ∂L/∂h_t-1 = ${gradient(r, "h_prev")}: every way in which h_t-1 reaches the loss is counted, from above at step ${r.step - 1} and through this step.`,
};

const H: Part = {
  name: "Hidden state",
  equations: ["h_t"],
  value: "h",
  gradient: { equation: "∂L/∂h_t", of: "h" },
  says: (r) =>
    r.run.state === "h"
      ? itemised(r, "now")
      : `In total ∂L/∂h_t = ${gradient(r, "h")}: every way in which h_t reaches the loss is counted, from above at step ${r.step} and through the steps after it.`,
};

function lstm(forget: boolean, peepholes: boolean): Record<string, Part> {
  const sees = (c: string) => (peepholes ? c : undefined);
  const kept = forget ? "f_t · c_t-1" : "c_t-1";
  const parts: Record<string, Part> = {
    x: INPUT,
    h_prev: H_PREV,
    c_prev: {
      name: "Cell state before",
      equations: ["c_t-1"],
      value: "c_prev",
      gradient: { equation: "∂L/∂c_t-1", of: "c_prev" },
      says: (r) => itemised(r, "before"),
    },
    i: sigmoid(
      "i",
      "Input gate",
      "∂L/∂c_t · g_t",
      (r) => `It lets ${value(r, "i")} of the candidate in.`,
      sees("c_t-1"),
    ),
    g: candidate("g", [argument("g")], "∂L/∂c_t · i_t"),
    o: sigmoid(
      "o",
      "Output gate",
      "∂L/∂h_t · tanh ( c_t )",
      (r) => `It shows ${value(r, "o")} of the cell to the outside.`,
      sees("c_t"),
    ),
    write: {
      name: "Writing",
      equations: ["i_t · g_t"],
      value: "written",
      gradient: { equation: "∂L/∂c_t", of: "c" },
      says: (r) =>
        `The step writes ${value(r, "written")}. ∂L/∂c_t = ${gradient(r, "c")} goes on to the candidate multiplied by i = ${value(r, "i")}, and to the input gate multiplied by g = ${value(r, "g")}.`,
    },
    sum: {
      name: "Sum",
      equations: [`c_t = ${kept} + i_t · g_t`],
      value: "c",
      gradient: { equation: "∂L/∂c_t", of: "c" },
      ...(forget ? {} : { way: "direct" }),
      says: (r) =>
        forget
          ? `A sum has the derivative 1 by each of its terms: ∂L/∂c_t = ${gradient(r, "c")} goes on whole, both ways.`
          : `Nothing multiplies c_t-1: ∂L/∂c_t = ${gradient(r, "c")} goes back whole. ${sends(r, "direct", "Along the carousel")}`,
    },
    c: {
      name: "Cell state",
      equations: [`c_t = ${kept} + i_t · g_t`],
      value: "c",
      gradient: { equation: "∂L/∂c_t", of: "c" },
      says: (r) => itemised(r, "now"),
    },
    tanh_c: {
      name: "Squashing",
      equations: ["tanh ( c_t )"],
      value: "tanh_c",
      before: "c",
      slope: { equation: "1 − tanh² ( c_t )", of: "tanh_c" },
      gradient: { equation: "∂L/∂h_t · o_t", of: "tanh_c" },
      says: (r) =>
        `${ofSlope(r, "tanh_c", 1)} Of ∂L/∂h_t it lets ${gradient(r, "c_from_h")} reach c_t${peepholes ? ", with what the output gate's peephole adds" : ""}.`,
    },
    read: {
      name: "Reading",
      equations: ["h_t = o_t · tanh ( c_t )"],
      value: "h",
      gradient: { equation: "∂L/∂h_t", of: "h" },
      says: (r) =>
        `∂L/∂h_t = ${gradient(r, "h")} goes on to tanh(c_t) multiplied by o = ${value(r, "o")}, and to the output gate multiplied by tanh(c_t) = ${value(r, "tanh_c")}.`,
    },
    h: H,
  };
  if (forget) {
    parts.f = sigmoid(
      "f",
      "Forget gate",
      "∂L/∂c_t · c_t-1",
      (r) => `It keeps ${value(r, "f")} of the cell.`,
      sees("c_t-1"),
    );
    parts.keep = {
      name: "Keeping",
      equations: ["f_t · c_t-1"],
      value: "kept",
      gradient: { equation: "∂L/∂c_t", of: "c" },
      way: "direct",
      says: (r) =>
        `Along the carousel ∂L/∂c_t = ${gradient(r, "c")} is multiplied by f = ${value(r, "f")} and by nothing else. ${sends(r, "direct", "This way")}`,
    };
  }
  return parts;
}

const GRU: Readonly<Record<string, Part>> = {
  x: INPUT,
  h_prev: { ...H_PREV, says: (r) => itemised(r, "before") },
  z: sigmoid(
    "z",
    "Update gate",
    "∂L/∂h_t · ( h_t-1 − n_t )",
    (r) =>
      `It keeps ${value(r, "z")} of the old state and takes ${value(r, "one_minus_z")} of the candidate.`,
  ),
  r: sigmoid(
    "r",
    "Reset gate",
    "∂L/∂a_n · q_t",
    (r) => `It lets the candidate see ${value(r, "r")} of what the past says.`,
  ),
  reset: {
    name: "Resetting",
    equations: ["r_t · q_t", "q_t = W_hn h_t-1 + b_hn"],
    value: "reset",
    gradient: { equation: "∂L/∂q_t = ∂L/∂a_n · r_t", of: "q" },
    says: (r) =>
      `What the past says, q = ${value(r, "q")}, goes on multiplied by r = ${value(r, "r")}, and its gradient ${gradient(r, "q")} comes back multiplied by the same.`,
  },
  n: candidate(
    "n",
    ["a_n = W_in x_t + b_in + r_t · q_t", "q_t = W_hn h_t-1 + b_hn"],
    "∂L/∂h_t · ( 1 − z_t )",
  ),
  keep: {
    name: "Keeping",
    equations: ["z_t · h_t-1"],
    value: "kept",
    gradient: { equation: "∂L/∂h_t", of: "h" },
    way: "direct",
    says: (r) =>
      `Along the carousel ∂L/∂h_t = ${gradient(r, "h")} is multiplied by z = ${value(r, "z")} and by nothing else. ${sends(r, "direct", "This way")}`,
  },
  one_minus_z: {
    name: "The rest",
    equations: ["1 − z_t"],
    value: "one_minus_z",
    says: (r) =>
      `What is not kept is replaced: ${value(r, "one_minus_z")} of the candidate. Keeping and writing share one gate, so its gradient is that of both together.`,
  },
  write: {
    name: "Writing",
    equations: ["( 1 − z_t ) · n_t"],
    value: "written",
    gradient: { equation: "∂L/∂h_t", of: "h" },
    says: (r) =>
      `The step writes ${value(r, "written")}. ∂L/∂h_t = ${gradient(r, "h")} goes on to the candidate multiplied by 1 − z = ${value(r, "one_minus_z")}.`,
  },
  sum: {
    name: "Sum",
    equations: ["h_t = z_t · h_t-1 + ( 1 − z_t ) · n_t"],
    value: "h",
    gradient: { equation: "∂L/∂h_t", of: "h" },
    says: (r) =>
      `A sum has the derivative 1 by each of its terms: ∂L/∂h_t = ${gradient(r, "h")} goes on whole, both ways.`,
  },
  h: H,
};

function rnn(phi: "tanh" | "relu"): Record<string, Part> {
  const slope = phi === "tanh" ? "( 1 − h_t^2 )" : "relu ′ ( a_h )";
  return {
    x: INPUT,
    h_prev: { ...H_PREV, says: (r) => itemised(r, "before") },
    activation: {
      name: "Activation",
      equations: [`h_t = ${phi} ( a_h )`, "a_h = W_ih x_t + b_ih + W_hh h_t-1 + b_hh"],
      value: "h",
      before: "a_h",
      slope: { equation: phi === "tanh" ? "1 − h_t^2" : slope, of: "h" },
      gradient: { equation: `∂L/∂a_h = ∂L/∂h_t · ${slope}`, of: "a_h" },
      way: "h",
      says: (r) =>
        `${ofSlope(r, "h", 1)} There is no other way: the whole gradient passes this slope and the recurrent weights. ${sends(r, "h", `Through ${r.units === 1 ? "its one unit" : `all ${r.units} units`}`)}`,
    },
    h: H,
  };
}

export const PARTS_OF: Readonly<Record<CellName, Readonly<Record<string, Part>>>> = {
  lstm: lstm(true, false),
  "lstm-peephole": lstm(true, true),
  "lstm-1997": lstm(false, false),
  gru: GRU,
  "rnn-tanh": rnn("tanh"),
  "rnn-relu": rnn("relu"),
};
