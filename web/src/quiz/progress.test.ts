import { describe, expect, test } from "vitest";
import type { Bank } from "../lib/schema";
import { type Asked, draw } from "./attempt";
import * as progress from "./progress";

const choices = [true, false, false, false].map((right, at) => ({
  text: `option ${at}`,
  right,
  feedback: `because ${at}`,
}));
const question = (id: string, objective: string) => ({
  id,
  objective,
  text: id,
  options: choices,
  source: "",
  link: "lesson",
  shows: "",
});
const bank: Bank = {
  objectives: [
    { id: "a", name: "A" },
    { id: "b", name: "B" },
  ],
  questions: [question("a1", "a"), question("a2", "a"), question("b1", "b")],
  drawn: 3,
  pass_percent: 70,
};
const asked: Asked[] = ["a1", "a2", "b1"].map((one) => ({ question: one, order: [0, 1, 2, 3] }));

/** Answers every question of an attempt, right where `right` says so. */
function through(from: progress.Progress, right: boolean[], kind: progress.Kind = "all") {
  let now = progress.begun(from, kind, asked);
  for (const one of right) now = progress.moved(progress.answered(now, bank, one ? 0 : 1));
  return now;
}

describe("an attempt", () => {
  test("is scored after its last answer, and not before", () => {
    expect(through(progress.EMPTY, [true, false]).scores).toEqual([]);
    const done = through(progress.EMPTY, [true, false, true]);
    expect(done.scores).toEqual([{ kind: "all", right: 2, of: 3 }]);
    expect(done.current?.at).toBe(3);
  });

  test("says what was missed, and what is mastered", () => {
    const done = through(progress.EMPTY, [true, false, true]);
    expect(done.current && progress.missed(done.current, bank)).toEqual(["a2"]);
    expect(progress.mastery(done, bank).map(({ right, of }) => [right, of])).toEqual([
      [1, 2],
      [1, 1],
    ]);
  });

  test("takes one answer a question", () => {
    const once = progress.answered(progress.begun(progress.EMPTY, "all", asked), bank, 1);
    expect(progress.answered(once, bank, 0)).toBe(once);
  });

  test("does not move on without an answer", () => {
    const open = progress.begun(progress.EMPTY, "all", asked);
    expect(progress.moved(open)).toBe(open);
  });

  test("the last answer to a question decides whether it is mastered", () => {
    const first = through(progress.EMPTY, [true, true, true]);
    const second = through(first, [false, true, true], "missed");
    expect(second.last).toEqual({ a1: false, a2: true, b1: true });
  });

  test("the best is one over all objectives", () => {
    const practised = through(progress.EMPTY, [true, true, true], "objective");
    expect(progress.best(practised)).toBeUndefined();
    const worse = through(through(practised, [true, true, false]), [false, false, false]);
    expect(progress.best(worse)).toEqual({ kind: "all", right: 2, of: 3 });
  });
});

describe("what was kept", () => {
  test("is read as it was written", () => {
    for (const one of [
      progress.EMPTY,
      through(progress.EMPTY, [true]),
      progress.answered(progress.begun(progress.EMPTY, "missed", asked), bank, 2),
      through(progress.EMPTY, [true, false, true]),
      progress.begun(progress.EMPTY, "all", draw(bank, 3, 1)),
    ]) {
      expect(progress.read(JSON.stringify(one), bank)).toEqual(one);
    }
  });

  test.each([
    ["no JSON", "{"],
    ["null", "null"],
    ["a list", "[]"],
    ["another version", JSON.stringify({ ...progress.EMPTY, version: 2 })],
    ["scores of another form", JSON.stringify({ ...progress.EMPTY, scores: [{ kind: "all" }] })],
    [
      "more right answers than questions",
      JSON.stringify({ ...progress.EMPTY, scores: [{ kind: "all", right: 4, of: 3 }] }),
    ],
    [
      "more scores than are kept",
      JSON.stringify({
        ...progress.EMPTY,
        scores: Array(progress.MOST_SCORES + 1).fill({ kind: "all", right: 1, of: 3 }),
      }),
    ],
    ["answers of another form", JSON.stringify({ ...progress.EMPTY, last: { a1: "yes" } })],
  ])("is refused if it is %s", (_, text) => {
    expect(progress.read(text, bank)).toBeUndefined();
  });

  const open = progress.begun(progress.EMPTY, "all", asked);
  test.each([
    [
      "a question that is gone",
      { ...open.current, asked: [{ question: "z", order: [0, 1, 2, 3] }] },
    ],
    ["an order with a gap", { ...open.current, asked: [{ question: "a1", order: [0, 1, 2, 2] }] }],
    ["no questions", { ...open.current, asked: [] }],
    ["an answer that is no option", { ...open.current, picked: [4] }],
    ["a place beyond the answers", { ...open.current, at: 2 }],
    ["more answers than were shown", { ...open.current, picked: [0, 0, 0], at: 0 }],
  ])("loses an attempt with %s, and nothing else", (_, current) => {
    const scores = [{ kind: "all", right: 2, of: 3 }];
    const found = progress.read(JSON.stringify({ ...open, scores, current }), bank);
    expect(found).toEqual({ ...progress.EMPTY, scores });
  });

  test("leaves out answers to questions that the bank no longer has", () => {
    const text = JSON.stringify({ ...progress.EMPTY, last: { a1: true, gone: true } });
    expect(progress.read(text, bank)?.last).toEqual({ a1: true });
  });
});
