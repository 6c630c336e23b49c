/** One sentence for each figure, computed from its numbers. */
import { type Level, spoken, spokenIn, superscript } from "../lib/levels";
import type { Curves, Exploration, Matrix, Power, Products, Spectra } from "../lib/schema";

/** "For each 1 at step 199 step 0 gets 3.5 × 10⁻⁴⁹ (tanh RNN) and 2.3 × 10⁻⁴¹ (LSTM)." */
export function gradientSentence(found: Exploration, loss: string): string {
  const at = found.loss_step;
  if (at === 0) return `There is one step: ${pair(found, (one) => own(one, 0))}.`;
  if (loss === "every") {
    const each = pair(found, (one) => own(one, 0));
    return `Each step has a loss of its own. At step 0, ‖dL/dh‖ is ${each}; how little of that comes from far is in the itemised matrix.`;
  }
  const shares = pair(found, (one) => left(one, at));
  const after =
    at < found.first.d_h.length - 1
      ? ` Nothing after step ${at} reaches the loss: the gradient there is exactly zero.`
      : "";
  return `For each 1 of ‖dL/dh‖ at step ${at}, where the loss is, step 0 gets ${shares}.${after}`;
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

/** What is left at step 0 of the norm at the step of the loss. */
function left(one: Curves, at: number): string {
  const [begin, end] = [one.d_h[0] ?? "padding", one.d_h[at] ?? "padding"];
  if (typeof begin !== "number" || typeof end !== "number") return spoken(begin);
  return spoken(begin - end);
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
  const share = Math.round(found.own * 100);
  return `${found.name}: at half of the steps, the loss of the step itself makes ${share} % or more of ‖dL/dh_t‖; what lies left of the diagonal came back from later losses.`;
}
