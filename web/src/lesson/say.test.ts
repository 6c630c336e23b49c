import { describe, expect, it } from "vitest";
import { NETWORK_DEFAULTS } from "../lib/schema";
import { called, course, powersOf, rounded, say } from "./say";

describe("numbers as the lesson says them", () => {
  it.each([
    [0.22387, 3, "0.224"],
    [1.5434046, 5, "1.5434"],
    [0.9999546, 5, "0.99995"],
    [6312.4, 3, "6310"],
    [22026.97, 3, "22\u202f000"],
    [0.000158, 3, "1.6 × 10⁻⁴"],
    [-0.5675, 3, "−0.568"],
    [0, 3, "0"],
  ])("%f with %i digits is %s", (value, digits, text) => {
    expect(rounded(value, digits)).toBe(text);
  });

  it("writes 2^20 with all its digits", () => {
    expect(say(2 ** 20, "whole")).toBe("1\u202f048\u202f576");
  });

  it("says what is no number", () => {
    expect(say("zero", "level")).toBe("exactly zero");
    expect(say(null, "plain")).toBe("none");
  });

  it("takes a ratio whichever way", () => {
    expect(say(-2, "times")).toBe(say(2, "times"));
    expect(say(0.128, "percent")).toBe("12.8 %");
  });
});

describe("curves", () => {
  it("multiplies by the same factor", () => {
    expect(powersOf(2, 3)).toEqual([0, 1, 2, 3].map((k) => k * Math.log10(2)));
    expect(powersOf(0, 2)).toEqual([0, "zero", "zero"]);
    expect(powersOf(1, 500).at(-1)).toBe(0);
  });

  it("are told from their end", () => {
    expect(course([-7, -2, 0])).toBe("falls from 1 to 1.0 × 10⁻⁷");
    expect(course([2, 0])).toBe("grows from 1 to 100");
    expect(course([0.1, 0])).toBe("goes from 1 to 1.26");
    expect(course(["zero", 0])).toBe("goes from 1 to exactly zero");
  });
});

it("names a network by what differs from PyTorch's", () => {
  expect(called(NETWORK_DEFAULTS)).toBe("LSTM");
  expect(called({ ...NETWORK_DEFAULTS, cell: "rnn-tanh", gain: 3 })).toBe("tanh RNN, W × 3");
  expect(called({ ...NETWORK_DEFAULTS, forget_bias: 3 })).toBe("LSTM, forget bias 3");
});
