import { describe, expect, it } from "vitest";
import { floorOf, tableOf } from "../chart/series";
import type { AccuracyTable, CellAccuracy, Prediction, SentenceAnswer } from "../lib/schema";
import * as say from "./sentences";

const prediction = (cell: "rnn" | "lstm", right: boolean, share: number): Prediction => ({
  cell,
  preferred: right ? "sits" : "sit",
  right,
  share,
  right_logit: 1,
  wrong_logit: 2,
  guesses: [],
  d_h: [-2, -1, 0],
  d_word: [-3, "zero", 0],
  horizon: "",
});

const answer: SentenceAnswer = {
  part: "test",
  words: [
    { text: "the", role: "" },
    { text: "cat", role: "subject" },
    { text: "often", role: "" },
    { text: "sits", role: "verb" },
  ],
  text: "The cat often sits.",
  distance: 2,
  right_form: "sits",
  wrong_form: "sit",
  predictions: [prediction("rnn", false, 0.39), prediction("lstm", true, 0.9996)],
  smallest_log10: -37.9,
};

const share = (hits: number, count: number) => ({
  hits,
  count,
  value: hits / count,
  low: hits / count - 0.1,
  high: hits / count + 0.05,
});

const cell = (name: "rnn" | "lstm", curve: readonly number[]): CellAccuracy => ({
  cell: name,
  parameters: 18119,
  learning_rate: 0.01,
  within: share(60, 100),
  beyond: share(50, 100),
  seed: 0,
  by_distance: [share(9, 10), share(8, 10)],
  by_attractors: [share(9, 10), share(6, 10)],
  by_attractors_beyond: [share(8, 10), share(5, 10)],
  curve: curve.map((value, at) => ({ step: at * 1000, value })),
  others: [0.5, 0.75].map((within, at) => ({
    seed: at + 1,
    within,
    beyond: within / 2,
    by_distance: [within, 0.1],
    by_attractors: [within, within],
    by_attractors_beyond: [within, within],
    curve: curve.map((value, step) => ({ step: step * 1000, value: value / 2 })),
  })),
});

const table: AccuracyTable = {
  cells: [cell("rnn", [0.5, 0.995, 0.6]), cell("lstm", [0.5, 0.98, 0.992, 1])],
  steps: 3000,
  budgets: [{ name: "short", steps: 3000 }],
  batch: 64,
  learning_rates: [0.01],
  trained_to: 1,
  validation: 20,
  tests: 50,
  tested_to: 2,
  attractors_from: 1,
};

describe("percentages", () => {
  it.each([
    [0.61, "61 %"],
    [1, "100 %"],
    [0, "0 %"],
    [0.9951, "99.5 %"],
    [0.99995, "over 99.9 %"],
    [0.0001, "under 0.1 %"],
    [0.004, "0.4 %"],
    [0.987, "98.7 %"],
  ])("%f is %s", (value, text) => expect(say.percent(value)).toBe(text));
});

it("groups thousands", () => {
  expect(say.thousands(999)).toBe("999");
  expect(say.thousands(1000)).toBe("1\u202f000");
  expect(say.thousands(1234567)).toBe("1\u202f234\u202f567");
});

describe("sentences", () => {
  it("say what each network prefers", () => {
    const [rnn, lstm] = answer.predictions;
    if (!rnn || !lstm) throw new Error("two predictions");
    expect(say.predictionText(rnn, answer)).toBe(
      "The RNN prefers “sit” to “sits”, 61 % to 39 %: wrong.",
    );
    expect(say.predictionText(lstm, answer)).toBe(
      "The LSTM prefers “sits” to “sit”, over 99.9 % to under 0.1 %: right.",
    );
  });

  it("say how far the subject is, and what lies between", () => {
    expect(say.distanceText(answer)).toBe(
      "The verb stands 2 steps after its subject “cat”. No noun of the other number lies between them.",
    );
    const words = [
      ...answer.words.slice(0, 2),
      { text: "dogs", role: "attractor" as const },
      ...answer.words.slice(2),
    ];
    expect(say.distanceText({ ...answer, words })).toContain(
      "Between them is one noun of the other number: “dogs”.",
    );
    expect(say.distanceText({ ...answer, distance: 1 })).toContain("right after its subject");
  });

  it("follow the gradient back to the subject, and name what is no number", () => {
    expect(say.gradientText(answer, "d_h")).toBe(
      "On its way of 1 step from the last word before the verb back to the subject, the gradient changes: in the RNN it shrinks 10-fold; in the LSTM it shrinks 10-fold.",
    );
    expect(say.gradientText(answer, "d_word")).toContain("in the RNN it is exactly zero there");
    expect(say.foldText(-1, 2)).toBe("grows 1000-fold");
    expect(say.foldText(-1, -1.001)).toBe("stays the same");
  });

  it("say what the sizes of the gradients do not say", () => {
    const said = say.meaningText(answer, "d_h");
    expect(said).toContain("the RNN by 1.0 and the LSTM by 1.0 in logits");
    expect(said).toContain("At “cat” the RNN’s is 1 times the LSTM’s, and the LSTM is right.");
    expect(said).toContain("between networks sizes are no ranking, accuracy is.");
    expect(say.meaningText(answer, "d_word")).not.toContain("At “cat”"); // one is exactly zero
  });

  it("say how far each gets", () => {
    expect(say.reachText(table)).toContain("the RNN 60 % (50 % to 65 %, n = 100)");
    expect(say.reachText(table)).toContain("At 2 to 2, longer than any in training");
    expect(say.attractorText(table, false)).toBe(
      "At distances 1 to 1, the RNN goes from 90 % without attractors to 60 % with 1; the LSTM goes from 90 % without attractors to 60 % with 1.",
    );
    expect(say.attractorText(table, true)).toContain("At distances 2 to 2, the RNN goes from 80 %");
  });

  it("count only what stays learnt", () => {
    expect(say.learningText(table)).toContain(
      "Who gets 99 % of the verbs right and stays there? The RNN does not within its 3\u202f000 steps (60 % at the end); the LSTM does from step 2\u202f000 on. This is of the 20 validation sentences, 20 of each distance from 1 to 1; those above are test sentences, 50 of each",
    );
  });

  it("tell of the other seeds, where there are some", () => {
    expect(say.luckText(table)).toContain(
      "from 3 seeds. At the distances of training and beyond them, the RNN shown, with 60 % and 50 %, is the second best; the 2 others get 50 % to 75 % and 25 % to 38 %",
    );
    const first = table.cells.map((one) => ({ ...one, within: share(75, 100) }));
    expect(say.luckText({ ...table, cells: first })).toContain("is level with the best");
    const alone = table.cells.map((one) => ({ ...one, others: [] }));
    expect(say.luckText({ ...table, cells: alone })).toBe("");
  });
});

describe("series", () => {
  it("keep the intervals and their counts", () => {
    const [first] = say.distanceSeries(table);
    const point = first?.points[1];
    expect([point?.x, point?.value, point?.count]).toEqual([2, 0.8, 10]);
    expect(point?.low).toBeCloseTo(0.7);
    expect(point?.high).toBeCloseTo(0.85);
    expect(say.attractorSeries(table, true)[0]?.points[1]?.value).toBe(0.5);
    expect(say.attractorSeries(table, false)[0]?.points[1]?.value).toBe(0.6);
  });

  it("begin their axis below all that is drawn", () => {
    expect(floorOf(say.distanceSeries(table).slice(0, 2), 0.5)).toBeCloseTo(0.4);
    expect(floorOf(say.distanceSeries(table), 0.5)).toBe(0); // a thin one is seen too
    expect(floorOf([], 0.05)).toBe(0);
  });

  it("are a table with a column for each end of an interval", () => {
    const made = tableOf(say.distanceSeries(table), "distance");
    expect(made.header.slice(0, 5)).toEqual(["distance", "RNN", "RNN from", "RNN to", "RNN of n"]);
    expect(made.rows[0]?.slice(0, 5)).toEqual(["1", "0.9000", "0.8000", "0.9500", "10"]);
    expect(made.header.slice(9)).toEqual(
      ["RNN, seed 1", "RNN, seed 2"].concat(["LSTM, seed 1", "LSTM, seed 2"]),
    );
    expect(made.rows[1]?.[10]).toBe("0.1000");
    expect(tableOf(say.learningSeries(table), "step").header.slice(0, 4)).toEqual([
      "step",
      "RNN",
      "LSTM",
      "RNN, seed 1",
    ]);
  });
});
