import { expect, test } from "vitest";
import { taken } from "./typed";

const UNITS = { kind: "int", low: 1, high: 128 };
const BIAS = { kind: "float", low: -10, high: 10 };

test.each([
  ["64", UNITS, { value: 64, said: "" }],
  ["128", UNITS, { value: 128, said: "" }],
  ["256", UNITS, { value: 128, said: "256 is outside 1 to 128: 128 is used." }],
  ["0", UNITS, { value: 1, said: "0 is outside 1 to 128: 1 is used." }],
  ["6.6", UNITS, { value: 7, said: "6.6 is no whole number: 7 is used." }],
  ["2.25", BIAS, { value: 2.25, said: "" }],
  ["-1e3", BIAS, { value: -10, said: "-1000 is outside -10 to 10: -10 is used." }],
  ["", BIAS, { value: 5, said: "That is no number from -10 to 10: 5 stays." }],
  ["x", BIAS, { value: 5, said: "That is no number from -10 to 10: 5 stays." }],
])("%s typed", (text, field, found) => {
  expect(taken(text, field, 5)).toEqual(found);
});
