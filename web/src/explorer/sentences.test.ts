import { expect, test } from "vitest";
import type { Level } from "../lib/levels";
import type { Curves, Power } from "../lib/schema";
import {
  carouselSentence,
  distinct,
  gradientSentence,
  matrixSentence,
  powerSentence,
  productSentence,
  scientific,
  singularSentence,
  togetherSentence,
  tollSentence,
} from "./sentences";

function curves(name: string, d_h: Level[], more: Partial<Curves> = {}): Curves {
  const limits = { smallest_log10: -37.93, largest_log10: 38.53 };
  return { name, d_h, d_c: [], carousel: [], ...limits, unused: [], ignored: [], ...more };
}

test("the gradient's sentence is about what step 0 gets of the loss", () => {
  const found = {
    first: curves("RNN", [-48.5, 0, 0.5]),
    second: curves("LSTM", [1, 0, -1]),
    loss_step: 2,
  };
  expect(gradientSentence(found, "last")).toBe(
    "For each 1 of ‖dL/dh‖ at step 2, where the loss is, step 0 gets 1.0 × 10⁻⁴⁹ (RNN) and 100 (LSTM).",
  );
  expect(gradientSentence({ ...found, loss_step: 1 }, "middle")).toContain(
    "Nothing after step 1 reaches the loss",
  );
  expect(gradientSentence(found, "every")).toContain("underflows");
});

test("zero, infinity and NaN are said by name", () => {
  const first = curves("A", ["zero", 0]);
  const second = curves("A", ["nan", "infinite"]);
  expect(gradientSentence({ first, second, loss_step: 1 }, "last")).toBe(
    "For each 1 of ‖dL/dh‖ at step 1, where the loss is, step 0 gets exactly zero (A, first) and not a number, where it is infinite at the loss (A, second).",
  );
  const [one, other] = [curves("A", ["zero"]), curves("B", [0])];
  expect(gradientSentence({ first: one, second: other, loss_step: 0 }, "last")).toContain(
    "There is one step",
  );
});

test("two networks of one name can be told apart", () => {
  expect(distinct("LSTM", "LSTM")).toEqual(["LSTM, first", "LSTM, second"]);
  expect(distinct("LSTM", "GRU")).toEqual(["LSTM", "GRU"]);
});

test("the carousel's share is of c where there is one, of h in a GRU", () => {
  const lstm = curves("LSTM", [0], { d_c: [1], carousel: [-1] });
  expect(carouselSentence(lstm)).toBe(
    "LSTM: along the carousel alone, ‖dL/dc‖ at step 0 would be 0.01 of what it is.",
  );
  expect(carouselSentence(curves("GRU", [2], { carousel: [0] }))).toContain("‖dL/dh‖");
  expect(carouselSentence(curves("RNN", [0]))).toContain("no carousel");
  expect(carouselSentence(curves("GRU", ["zero"], { carousel: ["zero"] }))).toContain(
    "exactly zero",
  );
});

test.each([
  ["9.53674316406e-7", "9.53674316406 × 10⁻⁷"],
  ["1e0", "1"],
  ["1.048576e6", "1.048576 × 10⁶"],
  ["1.5e-3", "0.0015"],
  ["1e-200", "1 × 10⁻²⁰⁰"],
])("%s by hand is %s", (text, expected) => {
  expect(scientific(text)).toBe(expected);
});

test("the multiplier's sentence names the regime and the step", () => {
  const power: Power = {
    log10: [],
    exact: null,
    scientific: "1e-2",
    regime: "vanishes",
    bound: 0.001,
    passes: 10,
  };
  expect(powerSentence(0.5, 20, power)).toContain("at 0.001 or below from step 10 on.");
  expect(powerSentence(0.5, 5, power)).toContain("beyond what is shown");
  expect(powerSentence(1, 1, { ...power, regime: "carried", passes: null })).toMatch(
    /^1 step of 1 leaves .*carried/,
  );
  expect(powerSentence(2, 20, { ...power, regime: "explodes", bound: 1000 })).toContain(
    "at 1000 or above",
  );
});

test("products and matrix without anything to say say so", () => {
  const one = { name: "A", log10_by_lag: [0], singular: [] };
  expect(productSentence({ first: one, second: one })).toBe("There is one step, and no product.");
  expect(singularSentence({ first: one, second: one })).toContain("there is no lag");
  const matrix = { name: "A", losses: [0], steps: [0], log10: ["zero" as const], own: null };
  const none = { ...matrix, far_steps: 50, far: null };
  expect(matrixSentence(none)).toContain("no step");
  expect(matrixSentence({ ...none, own: 0.8556 })).toMatch(/makes 85\.6 % or more .*losses\.$/);
});

test.each([
  [0.9756, "make 97.6 % of"],
  [-4.6e-5, "make less than 0.1 % of"],
  [-0.0312, "make −3.1 % of"],
])("a share of %f from afar", (far, said) => {
  const matrix = { name: "A", losses: [0], steps: [0], log10: [0], own: 0.5, far_steps: 50, far };
  expect(matrixSentence(matrix)).toContain(`Losses more than 50 steps later ${said} dL/dh_0.`);
});

test("a network with a cell state is followed by dL/dc, and the way in is said once", () => {
  const lstm = curves("LSTM", [-3, -3.5, 1], { d_c: [-1, 0, 0], carousel: [-2, -1, 0] });
  const rnn = curves("RNN", [-4, -2, 0]);
  expect(gradientSentence({ first: rnn, second: lstm, loss_step: 2 }, "last")).toBe(
    "For each 1 at step 2, where the loss is, step 0 gets 1.0 × 10⁻⁴ of ‖dL/dh‖ (RNN) and 0.1 of ‖dL/dc‖ (LSTM).",
  );
  expect(gradientSentence({ first: lstm, second: lstm, loss_step: 2 }, "last")).toBe(
    "For each 1 of ‖dL/dc‖ at step 2, where the loss is, step 0 gets 0.1 (LSTM, first) and 0.1 (LSTM, second).",
  );
  expect(tollSentence(lstm, 2, "last")).toContain("at step 2, ‖dL/dc‖ is 0.1 of ‖dL/dh‖.");
  expect(tollSentence(lstm, 2, "every")).toBe("");
  expect(tollSentence(rnn, 2, "last")).toBe("");
});

test("lines that lie upon each other are named", () => {
  const line = (name: string, ...levels: Level[]) => ({ name, levels });
  const flat = [line("a", 0, 0), line("b", 0.001, 0), line("c", "zero", 0), line("d", 0, 0)];
  expect(togetherSentence(flat)).toBe("Upon each other lie a = b = d.");
  const pairs = [...flat.slice(1, 3), line("e", "zero", 0), line("f", 0, 0)];
  expect(togetherSentence(pairs)).toBe("Upon each other lie b = f; and c = e.");
  expect(togetherSentence(flat.slice(1, 3))).toBe("");
});

test("two steps with the loss at the first are two", () => {
  const [first, second] = [curves("A", [-1, "zero"]), curves("B", [0, "zero"])];
  expect(gradientSentence({ first, second, loss_step: 0 }, "middle")).toBe(
    "The loss is at step 0: 0.1 (A) and 1 (B). Nothing after step 0 reaches the loss: the gradient there is exactly zero.",
  );
});
