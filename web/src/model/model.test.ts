import { describe, expect, it } from "vitest";
import { reachOf, stacked } from "./stack";
import { grow, visible } from "./tree";
import { bandsNote, cutsNote, endsNote, marksOf, measured } from "./words";

const entry = (name: string) => ({ key: name, name, identity: "", horizon: "", severity: "" });

describe("the tree of layers", () => {
  const branches = grow(["encoder.lstm.l0", "encoder.lstm.l1", "head.l0", "l0#1"].map(entry));

  it("joins modules that hold one thing only", () => {
    expect(branches.map((one) => one.label)).toEqual(["encoder.lstm", "head.l0", "l0#1"]);
    expect(branches[0]?.branches.map((one) => one.entry?.key)).toEqual([
      "encoder.lstm.l0",
      "encoder.lstm.l1",
    ]);
    expect(branches[0]?.entry).toBeNull();
  });

  it("shows what is open, with places among siblings", () => {
    const rows = visible(branches, new Set());
    expect(rows.map((row) => [row.level, row.position, row.siblings])).toEqual([
      [1, 1, 3],
      [2, 1, 2],
      [2, 2, 2],
      [1, 2, 3],
      [1, 3, 3],
    ]);
    expect(visible(branches, new Set(["encoder.lstm"])).length).toBe(3);
  });

  it("keeps a module apart that is a layer and holds layers", () => {
    const [only] = grow(["a", "a.b"].map(entry));
    expect([only?.entry?.key, only?.branches[0]?.entry?.key]).toEqual(["a", "a.b"]);
  });
});

describe("a stack of shares", () => {
  it("goes up with what is positive and down with what is negative", () => {
    const [first, second] = stacked([
      [0.5, -0.2, null],
      [0.7, 1.2, 0.4],
    ]);
    expect(first?.up.to).toEqual([0.5, 0, null]);
    expect(first?.down.to).toEqual([0, -0.2, null]);
    expect(second?.up).toEqual({ from: [0.5, 0, 0], to: [1.2, 1.2, 0.4] });
  });

  it("reaches from 0 to 1 at least, and not beyond the limit", () => {
    expect(reachOf([[0.3]], 2)).toEqual([0, 1]);
    expect(reachOf([[-9], [10]], 2)).toEqual([-2, 3]);
    expect(reachOf([[null]], 2)).toEqual([0, 1]);
  });
});

describe("a number of evidence", () => {
  it("has three digits, or its name", () => {
    expect([measured(0.12345), measured(1234), measured(-2e-7), measured("nan")]).toEqual([
      "0.123",
      "1230",
      "-2.00 × 10^-7",
      "NaN",
    ]);
  });
});

describe("what happens at steps", () => {
  const even = { boundaries: [], cuts: [], ends: [], whole: 4, batch: 4, steps: 60 };
  const ragged = {
    ...even,
    ends: [
      { step: 20, sequences: 1 },
      { step: 35, sequences: 2 },
    ],
    whole: 1,
  };

  it("is nothing where all sequences are of one length", () => {
    expect(marksOf(even)).toEqual([]);
    expect(endsNote(even) + cutsNote(even)).toBe("");
    expect(bandsNote(even)).toContain("Median over the sequences;");
  });

  it("marks where sequences end, and says that lines may jump there", () => {
    expect(marksOf(ragged)).toEqual([
      { at: 20, name: "1 sequence ends before step 20" },
      { at: 35, name: "2 sequences end before step 35" },
    ]);
    expect(endsNote(ragged)).toBe(
      " 3 sequences of 4 end between steps 20 and 35, 1 reaches step 59: a line may jump where sequences end, since others are left. Upright lines mark these ends.",
    );
    expect(bandsNote(ragged)).toContain("that are there at each step");
  });

  it("marks each step once, and of many ends the first and the last", () => {
    const both = marksOf({ ...ragged, cuts: [20], boundaries: [20, 40] });
    expect(both.map(({ at }) => at)).toEqual([20, 40, 35]);
    expect(both[0]?.name).toBe(
      "the state was detached before step 20; 1 sequence ends before step 20",
    );
    const many = Array.from({ length: 20 }, (_, at) => ({ step: at + 1, sequences: 1 }));
    expect(marksOf({ ...even, ends: many }).map(({ at }) => at)).toEqual([1, 20]);
    expect(endsNote({ ...even, ends: many })).toContain("the first and the last of these ends");
  });
});
