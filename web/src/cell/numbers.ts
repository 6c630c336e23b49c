/** The numbers of one step: read by name, and put into words. */
import { type Level, spoken, superscript } from "../lib/levels";
import type { CellGradient, CellRun, CellValues } from "../lib/schema";

export type Value = CellValues["of_unit"][number];

/** A number of which the log10 is known, and its sign. */
export interface Signed {
  readonly negative: boolean;
  readonly size: Level;
}

const NOT_RECORDED: Signed = { negative: false, size: "padding" };

const named = <T extends { readonly name: string }>(
  all: readonly T[],
  name: string,
): T | undefined => all.find((one) => one.name === name);

/** One step of a run. What a cell does not have is undefined; what a step lacks is "padding". */
export class Reader {
  constructor(
    readonly run: CellRun,
    readonly step: number,
    readonly unit: number,
    readonly units: number,
  ) {}

  value(name: string): Value | undefined {
    return named(this.run.values, name)?.of_unit[this.step];
  }

  mean(name: string): Value | undefined {
    return named(this.run.values, name)?.mean[this.step];
  }

  slope(name: string): Value | undefined {
    return named(this.run.slopes, name)?.of_unit[this.step];
  }

  gradient(name: string, step = this.step): Signed {
    return entry(named(this.run.gradients, name), step);
  }

  norm(name: string): Level {
    return named(this.run.gradients, name)?.norm[this.step] ?? "padding";
  }

  /** The part of dL/ds at a step that came by a way; at the step before, through this step. */
  way(name: string, at: "before" | "now" = "before"): Signed {
    return entry(named(this.run.ways, name), this.at(at));
  }

  /** The part as a share of the total, signed; null where there is none. */
  share(name: string, at: "before" | "now" = "before"): number | null {
    const part = this.way(name, at);
    const total = this.gradient(this.run.state, this.at(at));
    if (typeof total.size !== "number") return null;
    if (part.size === "zero") return 0;
    if (typeof part.size !== "number") return null;
    return (part.negative === total.negative ? 1 : -1) * 10 ** (part.size - total.size);
  }

  private at(at: "before" | "now"): number {
    return at === "before" ? this.step - 1 : this.step;
  }
}

function entry(gradient: CellGradient | undefined, step: number): Signed {
  const size = gradient?.size[step];
  return size === undefined ? NOT_RECORDED : { negative: gradient?.negative[step] ?? false, size };
}

export function valueText(value: Value | undefined): string {
  if (value === undefined) return "–";
  if (value === "nan") return "not a number";
  if (typeof value === "string") return value;
  if (value === 0) return "0";
  const size = spoken(Math.log10(Math.abs(value)));
  return value < 0 ? `−${size}` : size;
}

export function signedText({ negative, size }: Signed): string {
  const text = spoken(size);
  return negative && (typeof size === "number" || size === "infinite") ? `−${text}` : text;
}

/** "−3.8 % of its total": a part may point against the whole. */
export function shareText(share: number): string {
  const size = Math.abs(share);
  let text = `${Number((size * 100).toPrecision(size < 0.1 ? 2 : 3))} % of its total`;
  if (size > 9.995) text = `${spoken(Math.log10(size))} times its total`;
  else if (size > 0 && size < 1e-5) text = `${spoken(Math.log10(size) + 2)} % of its total`;
  return share < 0 ? `−${text}` : text;
}

/** Why a share may be negative, or above 100 %. */
export const SHARES_ADD_UP =
  "Shares have signs: a way that works against the others is negative, and all ways together, what came from outside included, add up to 100 %.";

/** For the face of a gate: as short as can be. */
export function shortValue(value: Value | undefined): string {
  if (value === undefined) return "";
  if (value === "nan") return "NaN";
  if (typeof value === "string") return value === "infinite" ? "∞" : "−∞";
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size < 0.005 || size >= 999.5)
    return shortSigned({ negative: value < 0, size: Math.log10(size) });
  const text = size < 9.995 ? size.toFixed(2) : size.toFixed(size < 99.95 ? 1 : 0);
  return value < 0 ? `−${text}` : text;
}

export function shortSigned({ negative, size }: Signed): string {
  if (typeof size !== "number") return { zero: "0", infinite: "∞", nan: "NaN", padding: "–" }[size];
  const sign = negative ? "−" : "";
  if (size >= -2 && size < Math.log10(999.5))
    return `${sign}${Number((10 ** size).toPrecision(2))}`;
  let exponent = Math.floor(size);
  let digits = (10 ** (size - exponent)).toPrecision(2);
  if (digits === "10") [digits, exponent] = ["1.0", exponent + 1];
  return `${sign}${digits}·10${superscript(exponent)}`;
}

/** For tables: all digits that mean something. */
export function plainValue(value: Value | undefined): string {
  return value === undefined
    ? ""
    : typeof value === "number"
      ? `${Number(value.toPrecision(7))}`
      : value;
}

export function plainSigned({ negative, size }: Signed): string {
  if (typeof size !== "number") return size;
  const exponent = Math.floor(size);
  const digits = (10 ** (size - exponent)).toPrecision(6);
  return `${negative ? "-" : ""}${digits}e${exponent}`;
}

const MOST_DECADES = 10;
const LEAST_DECADES = 4;

/**
 * The levels that the thickness of the wires spans: those of the total over all steps, in four to
 * ten decades, so that what is as thick at every step is a gradient that lasts.
 */
export function span(run: CellRun): readonly [low: number, high: number] {
  const total = named(run.gradients, run.state)?.size ?? [];
  const numbers = total.filter((level) => typeof level === "number");
  if (numbers.length === 0) return [-MOST_DECADES, 0];
  const high = numbers.reduce((a, b) => Math.max(a, b));
  const low = numbers.reduce((a, b) => Math.min(a, b));
  return [Math.max(high - MOST_DECADES, Math.min(high - LEAST_DECADES, low)), high];
}

export interface Stroke {
  readonly width: number;
  readonly opacity: number;
  readonly dash: string | undefined;
}

export function forwardStroke(value: Value | undefined): Stroke {
  if (typeof value !== "number") return { width: 2, opacity: 1, dash: "2 3" };
  const size = Math.min(1, Math.abs(value));
  return { width: 1.25 + 4.25 * size, opacity: 0.45 + 0.55 * size, dash: undefined };
}

export function backwardStroke({ size }: Signed, [low, high]: readonly [number, number]): Stroke {
  if (size === "infinite" || size === "nan") return { width: 3, opacity: 1, dash: "2 3" };
  if (typeof size !== "number") return { width: 1, opacity: 0.6, dash: "2 4" };
  const share = Math.min(1, Math.max(0, (size - low) / (high - low)));
  return { width: 1 + 6 * share, opacity: 0.5 + 0.5 * share, dash: undefined };
}
