import { expect, test } from "vitest";
import { moved } from "./cursor";

test("keys move within the chart, and no further", () => {
  expect(moved("ArrowRight", 3, 20)).toBe(4);
  expect(moved("ArrowUp", 19, 20)).toBe(19);
  expect(moved("PageDown", 4, 20)).toBe(0);
  expect(moved("PageUp", 4, 20)).toBe(14);
  expect([moved("Home", 7, 20), moved("End", 7, 20)]).toEqual([0, 19]);
  expect(moved("Tab", 3, 20)).toBeUndefined();
});
