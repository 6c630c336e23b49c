import { expect, test } from "vitest";
import { pieces } from "./prose";

test.each([
  ["plain", [["text", "plain"]]],
  [
    "h_{t-1} and",
    [
      ["text", "h"],
      ["sub", "t−1"],
      ["text", " and"],
    ],
  ],
  [
    "diag(f) W_hh",
    [
      ["text", "diag(f) W"],
      ["sub", "hh"],
    ],
  ],
  [
    "9.5 × 10^{-7}",
    [
      ["text", "9.5 × 10"],
      ["sup", "−7"],
    ],
  ],
  [
    "`bias_ih_l0` of x_0.",
    [
      ["code", "bias_ih_l0"],
      ["text", " of x"],
      ["sub", "0"],
      ["text", "."],
    ],
  ],
  ["", []],
])("%s", (text, found) => {
  expect(pieces(text).map(({ kind, text }) => [kind, text])).toEqual(found);
});
