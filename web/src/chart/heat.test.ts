import { describe, expect, it } from "vitest";
import {
  bytesOf,
  type Cells,
  firstOf,
  floatsOf,
  INFINITE,
  levelRange,
  NAN,
  PADDING,
  paint,
  pixel,
  plainCell,
  pool,
  shaded,
  spokenCell,
  tally,
  UNDERFLOW,
  VALUE,
  ZERO,
} from "./heat";

function cellsOf(rows: number, columns: number, category = VALUE, level = -2): Cells {
  return {
    rows,
    columns,
    levels: new Float32Array(rows * columns).fill(level),
    categories: new Uint8Array(rows * columns).fill(category),
  };
}

describe("what comes over the wire", () => {
  it("is decoded bit by bit, numbers that are none included", () => {
    const floats = new Float32Array([0, -400.5, Number.NEGATIVE_INFINITY, Number.NaN]);
    const text = btoa(String.fromCharCode(...new Uint8Array(floats.buffer)));
    expect([...floatsOf(text)]).toEqual([...floats]);
    expect([...bytesOf("AAECAwQF")]).toEqual([0, 1, 2, 3, 4, 5]);
  });
});

describe("pool", () => {
  it("leaves cells as they are where there is room", () => {
    const cells = cellsOf(3, 4);
    const pooled = pool(cells, 10, 10);
    expect([pooled.rows, pooled.columns]).toEqual([3, 4]);
    expect(pooled.categories).toBe(cells.categories);
    expect(pooled.picked[7]).toBe(7);
  });

  it("never hides a NaN or an infinity, and NaN comes first", () => {
    const cells = cellsOf(100, 100);
    cells.categories[37 * 100 + 58] = INFINITE;
    cells.categories[2 * 100 + 3] = INFINITE;
    cells.categories[3 * 100 + 2] = NAN;
    const pooled = pool(cells, 10, 10);
    expect(pooled.categories[3 * 10 + 5]).toBe(INFINITE);
    expect(pooled.categories[0]).toBe(NAN);
    expect(pooled.picked[0]).toBe(302);
    expect(tally(pooled.categories)).toEqual([98, 0, 0, 1, 1, 0]);
  });

  it("otherwise takes the most frequent category, and the mean of the levels", () => {
    const cells = cellsOf(1, 8);
    cells.categories.set([ZERO, ZERO, ZERO, VALUE, PADDING, PADDING, PADDING, UNDERFLOW]);
    cells.levels.set([0, 0, 0, -3, 0, 0, 0, -40]);
    expect([...pool(cells, 1, 2).categories]).toEqual([ZERO, UNDERFLOW]);
    cells.categories.fill(VALUE);
    cells.levels.set([-1, -3, -2, -2, -8, -4, -6, -6]);
    expect([...pool(cells, 1, 2).levels]).toEqual([-2, -6]);
    cells.categories.fill(PADDING);
    expect([...pool(cells, 1, 2).categories]).toEqual([PADDING, PADDING]);
  });

  it("counts every cell once where the sizes do not divide", () => {
    const cells = cellsOf(7, 11);
    cells.categories[76] = NAN;
    const pooled = pool(cells, 3, 4);
    expect(pooled.categories[11]).toBe(NAN);
    expect(pooled.levels[0]).toBeCloseTo(-2);
  });
});

describe("the range of colours", () => {
  it("is that of the values alone, one decade at least", () => {
    const cells = cellsOf(1, 4);
    cells.levels.set([-9, -1, -300, 200]);
    cells.categories.set([VALUE, VALUE, UNDERFLOW, INFINITE]);
    expect(levelRange(cells)).toEqual([-9, -1]);
    expect(levelRange(cellsOf(1, 4))).toEqual([-2.5, -1.5]);
    expect(levelRange(cellsOf(1, 4, ZERO))).toEqual([-1, 0]);
  });
});

describe("paint", () => {
  const palette = {
    shades: shaded(["#000000", "#ffffff"]),
    grounds: Uint32Array.from([0, 11, 12, 13, 14, 15]),
    inks: Uint32Array.from([0, 21, 22, 23, 24, 25]),
  };

  it("gives each category a ground and a pattern of its own", () => {
    const seen = [ZERO, UNDERFLOW, INFINITE, NAN, PADDING].map((category) => {
      const pixels = new Uint32Array(64);
      paint(pixels, 8, 8, cellsOf(1, 1, category), [-1, 0], palette);
      expect(new Set(pixels)).toEqual(new Set([10 + category, 20 + category]));
      return [...pixels].map((one) => (one >= 20 ? 1 : 0)).join("");
    });
    expect(new Set(seen).size).toBe(5);
  });

  it("goes from the first colour to the last", () => {
    const cells = cellsOf(1, 2);
    cells.levels.set([-5, 0]);
    const pixels = new Uint32Array(4);
    paint(pixels, 4, 1, cells, [-5, 0], palette);
    expect([...pixels]).toEqual([0xff000000, 0xff000000, 0xffffffff, 0xffffffff]);
  });

  it("reads colours as a minifier may have written them", () => {
    expect(pixel(" #fff")).toBe(0xffffffff);
    expect(pixel("#123456")).toBe(0xff563412);
  });
});

describe("one cell", () => {
  it("is told in words and for machines", () => {
    const cells = cellsOf(1, 6);
    cells.levels.set([-2, Number.NEGATIVE_INFINITY, -50, 39, Number.NaN, 0]);
    cells.categories.set([VALUE, ZERO, UNDERFLOW, INFINITE, NAN, PADDING]);
    const told = [0, 1, 2, 3, 4, 5].map((at) => spokenCell(cells, at, -38));
    expect(told).toEqual([
      "0.01",
      "exactly zero",
      "1.0 × 10⁻⁵⁰ (underflows)",
      "1.0 × 10³⁹ (overflows)",
      "not a number",
      "padding (not recorded)",
    ]);
    expect([0, 1, 2, 3, 4, 5].map((at) => plainCell(cells, at))).toEqual([
      "-2",
      "zero",
      "-50",
      "infinite",
      "nan",
      "padding",
    ]);
  });

  it("is found by its category, the earliest column first", () => {
    const cells = cellsOf(2, 3);
    cells.categories[2] = NAN;
    cells.categories[4] = NAN;
    expect(firstOf(cells, NAN)).toBe(4);
    expect(firstOf(cells, ZERO)).toBe(-1);
  });
});
