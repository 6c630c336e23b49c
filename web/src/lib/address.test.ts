import { beforeAll, expect, test, vi } from "vitest";
import type { Fields } from "./schema";

type Module = typeof import("./address.svelte");
let at: Module;

beforeAll(async () => {
  vi.stubGlobal("window", { location: { hash: "#/explorer?v=1" }, addEventListener: () => {} });
  at = await import("./address.svelte");
});

const FIELDS: Fields = {
  first: {
    kind: "group",
    optional: false,
    fields: {
      cell: { kind: "choice", choices: ["lstm", "gru"], optional: false },
      bias: { kind: "float", low: -10, high: 10, step: 0.1, optional: true },
    },
  },
  steps: { kind: "int", low: 1, high: 500, step: 1, optional: false },
  linear: { kind: "flag", optional: false },
  word: { kind: "text", most: 5, optional: false },
};

const DEFAULTS = {
  first: { cell: "lstm", bias: null as number | null },
  steps: 200,
  linear: false,
  word: "",
};

test("what is written is read again", () => {
  for (const state of [
    DEFAULTS,
    { first: { cell: "gru", bias: -2.5 }, steps: 1, linear: true, word: "a&b=" },
    { first: { cell: "lstm", bias: 0 }, steps: 500, linear: false, word: "é" },
  ]) {
    const query = at.write(FIELDS, DEFAULTS, state);
    expect(at.read(FIELDS, DEFAULTS, query)).toEqual(state);
    expect(at.write(FIELDS, DEFAULTS, at.read(FIELDS, DEFAULTS, query))).toBe(query);
  }
  expect(at.write(FIELDS, DEFAULTS, DEFAULTS)).toBe("");
});

test("null where a number is the default is said as nothing", () => {
  const usual = { ...DEFAULTS, first: { cell: "lstm", bias: 3 as number | null } };
  const query = at.write(FIELDS, usual, DEFAULTS);
  expect(query).toBe("v=1&first.bias=");
  expect(at.read(FIELDS, usual, query)).toEqual(DEFAULTS);
});

test.each([
  "v=1&steps=0",
  "v=1&steps=501",
  "v=1&steps=1.5",
  "v=1&steps=",
  "v=1&steps=NaN",
  "v=1&steps=0x1f4000",
  "v=1&first.cell=rnn",
  "v=1&first.bias=11",
  "v=1&first.bias=Infinity",
  "v=1&linear=yes",
  "v=1&word=toolong",
  "v=1&unknown=3&__proto__=1",
  "v=1&first=gru",
  "v=2&steps=7",
  "steps",
  "%%%",
])("what does not fit falls back to the default: %s", (query) => {
  expect(at.read(FIELDS, DEFAULTS, query)).toEqual(DEFAULTS);
});

test("one bad value leaves the good ones", () => {
  expect(at.read(FIELDS, DEFAULTS, "v=1&steps=7&first.cell=none").steps).toBe(7);
});

test("what is read is no part of the defaults", () => {
  const found = at.read(FIELDS, DEFAULTS, "");
  found.first.cell = "gru";
  expect(DEFAULTS.first.cell).toBe("lstm");
});

test("locks are read and written; unknown names and other versions lock nothing", () => {
  expect(at.names(FIELDS)).toEqual(["first.cell", "first.bias", "steps", "linear", "word"]);
  const locks = at.locksIn(FIELDS, "v=1&steps=3&lock=steps,first.cell,nonsense,");
  expect([...locks]).toEqual(["first.cell", "steps"]);
  const query = at.write(FIELDS, DEFAULTS, { ...DEFAULTS, steps: 3 }, locks);
  expect(query).toBe("v=1&steps=3&lock=first.cell,steps");
  expect(at.locksIn(FIELDS, query)).toEqual(locks);
  expect([...at.locksIn(FIELDS, "v=1&lock=first")]).toEqual(["first.cell", "first.bias"]);
  expect(at.locksIn(FIELDS, "v=2&lock=steps").size).toBe(0);
  expect(at.locksIn(FIELDS, "").size).toBe(0);
  expect(at.write(FIELDS, DEFAULTS, DEFAULTS, new Set(["steps"]))).toBe("v=1&lock=steps");
});

test("what is locked stays as it is", () => {
  const now = {
    first: { cell: "gru", bias: 1 as number | null },
    steps: 7,
    linear: true,
    word: "x",
  };
  const found = at.unlessLocked(DEFAULTS, now, new Set(["first.cell", "steps"]));
  expect(found).toEqual({ ...DEFAULTS, first: { cell: "gru", bias: null }, steps: 7 });
});
