import { expect, test } from "vitest";
import type { Curves } from "../lib/schema";
import {
  DEFAULTS,
  FIELDS,
  isOpen,
  LOCKABLE,
  lines,
  opened,
  settingsOf,
  singularLines,
} from "./state";

const curves = (name: string, more: Partial<Curves> = {}): Curves => {
  const limits = { smallest_log10: -38, largest_log10: 38 };
  return { name, d_h: [0], d_c: [], carousel: [], ...limits, unused: [], ignored: [], ...more };
};

test("what can be locked is a field", () => {
  const known = Object.entries(FIELDS).flatMap(([name, field]) =>
    field.kind === "group" ? Object.keys(field.fields).map((one) => `${name}.${one}`) : [name],
  );
  expect(known).toEqual(expect.arrayContaining(LOCKABLE));
  expect(Object.keys(DEFAULTS).sort()).toEqual(Object.keys(FIELDS).sort());
});

test("the deeper figures open and close each on its own", () => {
  expect(opened("", "spectra", true)).toBe("spectra");
  expect(opened("spectra", "products", true)).toBe("products-spectra");
  expect(opened("products-spectra-matrix", "spectra", false)).toBe("products-matrix");
  expect(opened("matrix", "matrix", false)).toBe("");
  expect(isOpen("products-matrix", "matrix")).toBe(true);
  expect(isOpen("products-matrix", "spectra")).toBe(false);
  const all = (["products", "spectra", "matrix"] as const).reduce(
    (open, which) => opened(open, which, true),
    DEFAULTS.open,
  );
  expect(FIELDS.open.choices).toContain(all);
});

test("a request holds the settings and nothing of the page", () => {
  expect(Object.keys(settingsOf(DEFAULTS)).sort()).toEqual(
    ["first", "loss", "second", "seed", "signal", "steps"].sort(),
  );
});

test("no two lines look the same or have the same name", () => {
  const both = curves("LSTM", { d_c: [0], carousel: [0] });
  const found = lines({ first: both, second: both, loss_step: 0 });
  const looks = found.map((one) => `${one.mark} ${one.dash}`);
  expect(new Set(looks).size).toBe(6);
  expect(new Set(found.map((one) => one.name)).size).toBe(6);
  const singular = [1, 2, 3, 4].map((lag) => ({ lag, log10: [0] }));
  const product = { name: "LSTM", log10_by_lag: [0], singular };
  const drawn = singularLines({ first: product, second: product });
  expect(new Set(drawn.map((one) => `${one.mark} ${one.dash}`)).size).toBe(8);
});

test("an RNN has one line", () => {
  const found = lines({
    first: curves("RNN"),
    second: curves("GRU", { carousel: [0] }),
    loss_step: 0,
  });
  expect(found.map((one) => one.name)).toEqual(["RNN: dL/dh", "GRU: dL/dh", "GRU: carousel alone"]);
});
