/** How the lesson says the numbers that it was given, and where in the answer they stand. */
import { type Level, spoken } from "../lib/levels";
import type { Lesson, Network } from "../lib/schema";

/** "slopes.factor": every number of the answer that is no part of a list. */
export type PathOf<T> = {
  [K in keyof T & string]: T[K] extends number | string | null
    ? K
    : T[K] extends boolean | readonly unknown[]
      ? never
      : T[K] extends object
        ? `${K}.${PathOf<T[K]>}`
        : never;
}[keyof T & string];

export type NumberPath = PathOf<Omit<Lesson, "presets">>;

/** plain: the number. level: a log10. times: a log10 of a ratio, whichever way. whole: all digits. */
export type Way = "plain" | "level" | "times" | "whole" | "percent";

export function at(lesson: Lesson, path: NumberPath): Level | null {
  let found: unknown = lesson;
  for (const name of path.split(".")) found = (found as Record<string, unknown>)[name];
  return found as Level | null;
}

export function say(value: Level | null, way: Way, digits = 3): string {
  if (value === null) return "none";
  if (typeof value !== "number") return spoken(value);
  if (way === "level") return spoken(value);
  if (way === "times") return rounded(10 ** Math.abs(value), digits);
  if (way === "percent") return `${rounded(100 * value, digits)} %`;
  if (way === "whole") return grouped(value);
  return rounded(value, digits);
}

/** So many digits; in groups of three from 10 000 on, as a power of ten where it is very small. */
export function rounded(value: number, digits = 3): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e7) return (value < 0 ? "−" : "") + spoken(Math.log10(size));
  const short = Number(value.toPrecision(digits));
  return grouped(Math.abs(short) >= 1000 ? Math.round(short) : short);
}

function grouped(value: number): string {
  const [whole = "", rest] = `${Math.abs(value)}`.split(".");
  const parts = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") : whole;
  return (value < 0 ? "−" : "") + parts + (rest === undefined ? "" : `.${rest}`);
}

const CELLS: Readonly<Record<Network["cell"], string>> = {
  "rnn-tanh": "tanh RNN",
  "rnn-relu": "relu RNN",
  lstm: "LSTM",
  "lstm-1997": "LSTM of 1997",
  "lstm-peephole": "peephole LSTM",
  gru: "GRU",
};

const INITS: Readonly<Record<Network["init"], string>> = {
  default: "",
  orthogonal: "orthogonal W",
  identity: "W = identity",
  chrono: "chrono biases",
};

/** A network in a few words: "LSTM, forget bias 3". */
export function called(network: Network): string {
  const parts = [CELLS[network.cell]];
  if (INITS[network.init]) parts.push(INITS[network.init]);
  if (network.forget_bias !== null) parts.push(`forget bias ${network.forget_bias}`);
  if (network.gain !== 1) parts.push(`W × ${network.gain}`);
  return parts.join(", ");
}

/** log10 of m^k for k = 0 .. steps. */
export function powersOf(factor: number, steps: number): Level[] {
  return Array.from({ length: steps + 1 }, (_, k) =>
    k === 0 ? 0 : factor === 0 ? "zero" : k * Math.log10(Math.abs(factor)),
  );
}

/** "falls from a to b": what a curve does from its last step back to its first. */
export function course(levels: readonly Level[]): string {
  const [end, start] = [levels.at(-1), levels[0]];
  if (end === undefined || start === undefined) return "is not recorded";
  if (typeof end === "number" && typeof start === "number") {
    const change = start - end;
    const verb = Math.abs(change) < 0.3 ? "goes" : change < 0 ? "falls" : "grows";
    return `${verb} from ${spoken(end)} to ${spoken(start)}`;
  }
  return `goes from ${spoken(end)} to ${spoken(start)}`;
}
