/** One sentence for each figure, computed from its numbers. */
import { type Level, spoken, spokenIn, superscript } from "../lib/levels";
import type { Curves, Exploration, Matrix, Power, Products, Spectra } from "../lib/schema";

/**
 * "For each 1 at step 199 step 0 gets 3.5 × 10⁻⁴⁹ of ‖dL/dh‖ (tanh RNN) and 0.76 of ‖dL/dc‖ (LSTM)."
 * Each network by the state that keeps the gradient: dL/dh of an LSTM pays the way from h to c once.
 */
export function gradientSentence(found: Exploration, loss: string): string {
  const at = found.loss_step;
  const steps = found.first.d_h.length;
  if (steps === 1) return `There is one step: ${pair(found, (one) => own(one, 0))}.`;
  if (loss === "every") {
    const each = pair(found, (one) => own(one, 0));
    return `Each step has a loss of its own. At step 0, ‖dL/dh‖ is ${each}; how much of that comes from how far is in the itemised matrix.`;
  }
  const states = [kept(found.first), kept(found.second)];
  const same = states[0] === states[1];
  const shares = pair(found, (one) => left(one, at) + (same ? "" : ` of ‖dL/d${kept(one)}‖`));
  const of = same ? ` of ‖dL/d${states[0]}‖` : "";
  const after =
    at < steps - 1
      ? ` Nothing after step ${at} reaches the loss: the gradient there is exactly zero.`
      : "";
  if (at === 0) return `The loss is at step 0: ${pair(found, (one) => own(one, 0))}.${after}`;
  return `For each 1${of} at step ${at}, where the loss is, step 0 gets ${shares}.${after}`;
}

function pair(found: Exploration, say: (one: Curves) => string): string {
  const names = distinct(found.first.name, found.second.name);
  return `${say(found.first)} (${names[0]}) and ${say(found.second)} (${names[1]})`;
}

/** Two names that can be told apart. */
export function distinct(first: string, second: string): [string, string] {
  return first === second ? [`${first}, first`, `${second}, second`] : [first, second];
}

function own(one: Curves, step: number): string {
  return spokenIn(one.d_h[step] ?? "padding", one.smallest_log10, one.largest_log10);
}

/** The state whose gradient is followed. */
function kept(one: Curves): "c" | "h" {
  return one.d_c.length ? "c" : "h";
}

/** What is left at step 0 of the norm at the step of the loss. */
function left(one: Curves, at: number): string {
  const levels = one.d_c.length ? one.d_c : one.d_h;
  const [begin, end] = [levels[0] ?? "padding", levels[at] ?? "padding"];
  if (typeof end !== "number") return `${spoken(begin)}, where it is ${spoken(end)} at the loss`;
  if (typeof begin !== "number") return spoken(begin);
  return spoken(begin - end);
}

/** The toll of the way from h into c, which one loss pays once; "" where there is none. */
export function tollSentence(one: Curves, at: number, loss: string): string {
  const [h, c] = [one.d_h[at], one.d_c[at]];
  if (loss === "every" || typeof h !== "number" || typeof c !== "number") return "";
  return ` Into c the loss comes through the output gate and tanh, once: at step ${at}, ‖dL/dc‖ is ${spoken(c - h)} of ‖dL/dh‖.`;
}

/** Which lines lie upon each other, to within what can be seen; "" where none do. */
export function togetherSentence(
  lines: readonly { readonly name: string; readonly levels: readonly Level[] }[],
): string {
  const groups: (typeof lines)[number][][] = [];
  for (const line of lines) {
    const own = groups.find(([first]) => first !== undefined && alike(first.levels, line.levels));
    if (own) own.push(line);
    else groups.push([line]);
  }
  const shared = groups.filter((one) => one.length > 1);
  if (!shared.length) return "";
  const said = shared.map((one) => one.map((line) => line.name).join(" = "));
  return `Upon each other lie ${said.join("; and ")}.`;
}

const SEEN = 0.01; // decades

function alike(one: readonly Level[], other: readonly Level[]): boolean {
  return (
    one.length === other.length &&
    one.every((level, at) => {
      const beside = other[at];
      return typeof level === "number" && typeof beside === "number"
        ? Math.abs(level - beside) < SEEN
        : level === beside;
    })
  );
}

/** What the carousel alone would carry. */
export function carouselSentence(one: Curves): string {
  const [alone, total] = [one.carousel[0], one.d_c.length ? one.d_c[0] : one.d_h[0]];
  if (alone === undefined || total === undefined)
    return `${one.name}: there is no carousel, nothing of the state passes without the weights.`;
  if (typeof alone !== "number" || typeof total !== "number")
    return `${one.name}: along the carousel alone, the gradient at step 0 is ${spoken(alone)}; along all ways, ${spoken(total)}.`;
  const state = one.d_c.length ? "c" : "h";
  return `${one.name}: along the carousel alone, ‖dL/d${state}‖ at step 0 would be ${spoken(alone - total)} of what it is.`;
}

export function powerSentence(factor: number, steps: number, found: Power): string {
  const said = {
    vanishes: `It vanishes: at ${found.bound} or below from step ${found.passes} on`,
    carried: "It is carried: every step has what the last one has",
    explodes: `It explodes: at ${found.bound} or above from step ${found.passes} on`,
  }[found.regime];
  const beyond =
    found.passes !== null && found.passes > steps ? ", which is beyond what is shown" : "";
  return `${steps} ${steps === 1 ? "step" : "steps"} of ${factor} ${steps === 1 ? "leaves" : "leave"} ${scientific(found.scientific)}. ${said}${beyond}.`;
}

/** "9.5367e-7" as it is written by hand. */
export function scientific(text: string): string {
  const [digits = "", exponent = "0"] = text.split("e");
  const value = Number(exponent);
  if (value > -4 && value < 6) return `${Number(text)}`;
  return `${digits} × 10${superscript(value)}`;
}

export function productSentence(found: Products): string {
  const last = (levels: readonly Level[]) => levels[levels.length - 1] ?? "padding";
  const lag = found.first.log10_by_lag.length - 1;
  if (lag < 1) return "There is one step, and no product.";
  const names = distinct(found.first.name, found.second.name);
  return `Over ${lag} steps the product of the Jacobians comes to ${spoken(last(found.first.log10_by_lag))} (${names[0]}) and ${spoken(last(found.second.log10_by_lag))} (${names[1]}), by its Frobenius norm.`;
}

export function singularSentence(found: Products): string {
  const said = [found.first, found.second].map((one) => {
    const furthest = one.singular[one.singular.length - 1];
    if (furthest === undefined) return `${one.name}: there is no lag`;
    const [most, least] = [furthest.log10[0], furthest.log10[furthest.log10.length - 1]];
    return `${one.name}: over ${furthest.lag} steps the best direction keeps ${spoken(most ?? "padding")}, number ${furthest.log10.length} keeps ${spoken(least ?? "padding")}`;
  });
  return `${said.join("; ")}.`;
}

export function spectrumSentence(found: Spectra): string {
  const names = distinct(found.first.name, found.second.name);
  return `${names[0]}: ${found.first.sentence} ${names[1]}: ${found.second.sentence}`;
}

export function matrixSentence(found: Matrix): string {
  if (found.own === null) return `${found.name}: no step's gradient has a part that can be told.`;
  const own = `${found.name}: at half of the steps, the loss of the step itself makes ${percent(found.own)} or more of dL/dh_t; what lies left of the diagonal came back from later losses.`;
  if (found.far === null) return own;
  return `${own} Losses more than ${found.far_steps} steps later make ${percent(found.far)} of dL/dh_0.`;
}

/** A share, with its sign: one that points against the whole is below zero. */
function percent(share: number): string {
  if (Math.abs(share) < 5e-4) return "less than 0.1 %";
  const said = Number((share * 100).toPrecision(Math.abs(share) < 0.1 ? 2 : 3));
  return `${said < 0 ? "−" : ""}${Math.abs(said)} %`;
}
