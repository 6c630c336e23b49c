import { describe, expect, it } from "vitest";
import type { CellRun } from "../lib/schema";
import { chunks, indexed, meaning, plainEquation, symbolsOf, valueNameOf } from "./equation";
import { corners, halfOf, heightOf, neighbour, onScreen, path } from "./geometry";
import { type CellName, LAYOUTS } from "./layouts";
import {
  backwardStroke,
  forwardStroke,
  plainSigned,
  Reader,
  shareText,
  shortSigned,
  shortValue,
  signedText,
  span,
  valueText,
} from "./numbers";
import { itemised, PARTS_OF } from "./parts";
import { tableOf } from "./table";

const CELLS = Object.keys(LAYOUTS) as CellName[];

/** Two steps of a cell of two gates; the second part of the first total points against it. */
const RUN: CellRun = {
  state: "c",
  gates: ["f", "g"],
  values: [
    { name: "f", of_unit: [0.5, 0.25], mean: [0.5, 0.5] },
    { name: "c", of_unit: [-1.5, "infinite"], mean: [0, "nan"] },
  ],
  slopes: [{ name: "f", of_unit: [0.25, 0.1875], mean: [0.2, 0.2] }],
  gradients: [{ name: "c", negative: [true, false], size: [-60, -2], norm: [-59, -1] }],
  ways: [
    {
      name: "direct",
      negative: [true, false],
      size: [-60 + Math.log10(1.25), "zero"],
      norm: [-59, "zero"],
    },
    {
      name: "f",
      negative: [false, false],
      size: [-60 + Math.log10(0.25), "zero"],
      norm: [-59, "zero"],
    },
    { name: "injected", negative: [false, false], size: ["zero", -2], norm: ["zero", -1] },
  ],
  smallest_log10: -37.9,
};

describe.each(CELLS)("the diagram of %s", (cell) => {
  const layout = LAYOUTS[cell];
  const parts = PARTS_OF[cell];

  it("has a part for each place and a place for each part", () => {
    expect(Object.keys(parts).sort()).toEqual(layout.places.map(({ id }) => id).sort());
  });

  it("leads with the arrow keys from everywhere to everywhere", () => {
    for (const start of layout.places) {
      const reached = new Set([start.id]);
      for (const id of reached) {
        for (const key of ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]) {
          reached.add(neighbour(layout, id, key));
        }
      }
      expect([...reached].sort()).toEqual(layout.places.map(({ id }) => id).sort());
    }
  });

  it.each([296, 720])("lets nothing overlap and nothing out at a width of %i", (width) => {
    const boxes = layout.places.map((place) => ({
      at: onScreen(place.at, width),
      half: halfOf(place),
    }));
    for (const [index, { at, half }] of boxes.entries()) {
      expect(at[0] - half[0]).toBeGreaterThanOrEqual(0);
      expect(at[0] + half[0]).toBeLessThanOrEqual(width);
      expect(at[1] + half[1]).toBeLessThanOrEqual(heightOf(layout));
      for (const other of boxes.slice(index + 1)) {
        const apart =
          Math.abs(at[0] - other.at[0]) >= half[0] + other.half[0] ||
          Math.abs(at[1] - other.at[1]) >= half[1] + other.half[1];
        expect(apart).toBe(true);
      }
    }
  });

  it("draws wires that run along the grid, from the edge of a place to the edge of another", () => {
    for (const wire of layout.wires) {
      const points = corners(wire, layout, 500);
      for (let at = 1; at < points.length; at += 1) {
        const [a, b] = [points[at - 1] ?? [0, 0], points[at] ?? [0, 0]];
        expect(Math.min(Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1]))).toBeCloseTo(0);
      }
      expect(path(points, "end")).not.toContain("NaN");
    }
  });

  it("explains every symbol, and knows which are numbers of the run", () => {
    for (const part of Object.values(parts)) {
      for (const symbol of symbolsOf(part.equations)) {
        expect(meaning(symbol)).not.toBe(`${symbol.base}, after its activation`);
        const learned = meaning(symbol).includes("learned");
        expect(valueNameOf(symbol) === undefined).toBe(learned);
      }
    }
  });
});

describe("equations", () => {
  it("break before their signs, but not within brackets", () => {
    expect(chunks("a_f = W_if x_t + b_if").map((chunk) => chunk.length)).toEqual([1, 3, 2]);
    expect(chunks("f_t · ( 1 − f_t )")).toHaveLength(2);
  });

  it("are said in sentences", () => {
    expect(indexed("∂L/∂c_t = 2 and c_t-1 = exactly zero")).toBe(
      "∂L/∂cₜ = 2 and cₜ₋₁ is exactly zero",
    );
  });

  it("are texts in tables", () => {
    expect(plainEquation("c_t = f_t · c_t-1 + ( 1 − n_t^2 )")).toBe("cₜ = fₜ · cₜ₋₁ + (1 − nₜ²)");
    expect(plainEquation("f_t = σ ( a_f )")).toBe("fₜ = σ(a_f)");
  });
});

describe("numbers", () => {
  const reader = new Reader(RUN, 1, 0, 4);

  it("are read by name; the ways are those of the step before", () => {
    expect(reader.value("f")).toBe(0.25);
    expect(reader.slope("f")).toBe(0.1875);
    expect(reader.gradient("c")).toEqual({ negative: false, size: -2 });
    expect(reader.way("direct").size).toBeCloseTo(-59.903);
    expect(reader.way("injected", "now").size).toBe(-2);
    const first = new Reader(RUN, 0, 0, 4);
    expect(first.way("direct").size).toBe("padding");
    expect(first.share("direct")).toBeNull();
    for (const part of Object.values(PARTS_OF.lstm)) expect(part.says(first)).not.toContain("null");
  });

  it("have shares that add up to the whole, with their signs, at any size", () => {
    expect(reader.share("direct")).toBeCloseTo(1.25);
    expect(reader.share("f")).toBeCloseTo(-0.25);
    expect(reader.share("injected")).toBe(0);
    expect(shareText(-0.25)).toBe("−25 % of its total");
    expect(shareText(-1.5e-12)).toBe("−1.5 × 10⁻¹⁰ % of its total");
    expect(shareText(0)).toBe("0 % of its total");
    expect(shareText(20)).toBe("20 times its total");
  });

  it("are put into words, the five that are no number by name", () => {
    expect(signedText({ negative: true, size: -60 })).toBe("−1.0 × 10⁻⁶⁰");
    expect(signedText({ negative: false, size: "zero" })).toBe("exactly zero");
    expect(valueText(-1.5)).toBe("−1.5");
    expect(valueText("infinite")).toBe("infinite");
    expect(shortValue(-0.734)).toBe("−0.73");
    expect(shortValue(0.0004)).toBe("4.0·10⁻⁴");
    expect(shortValue("nan")).toBe("NaN");
    expect(shortSigned({ negative: true, size: Math.log10(3.6e-4) })).toBe("−3.6·10⁻⁴");
    expect(shortSigned({ negative: false, size: -3.9999 })).toBe("1.0·10⁻⁴");
    expect(shortSigned({ negative: true, size: Math.log10(0.034) })).toBe("−0.034");
    expect(shortSigned({ negative: false, size: Math.log10(120) })).toBe("120");
    expect(shortSigned({ negative: false, size: "padding" })).toBe("–");
    expect(plainSigned({ negative: true, size: -59.5 })).toBe("-3.16228e-60");
    expect(itemised(reader, "before")).toContain("along the carousel");
    expect(itemised(reader, "before")).not.toContain("outside");
  });

  it("give wires their thickness, the thickest to the largest total", () => {
    expect(span(RUN)).toEqual([-12, -2]);
    const thin = backwardStroke({ negative: false, size: -60 }, [-12, -2]);
    const thick = backwardStroke({ negative: true, size: -2 }, [-12, -2]);
    expect(thick.width).toBeGreaterThan(thin.width + 4);
    expect(backwardStroke({ negative: false, size: "zero" }, [-12, -2]).dash).toBeDefined();
    expect(forwardStroke(-1).width).toBe(forwardStroke(7).width);
    expect(forwardStroke(0.1).width).toBeLessThan(forwardStroke(0.9).width);
  });

  it("stand in a table with a row for each place", () => {
    const { header, rows } = tableOf(LAYOUTS.lstm, PARTS_OF.lstm, reader);
    expect(rows).toHaveLength(LAYOUTS.lstm.places.length);
    for (const row of rows) expect(row).toHaveLength(header.length);
  });
});
