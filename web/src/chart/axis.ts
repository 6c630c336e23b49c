/** Axes: where ticks stand and what they say. */
import { ticks } from "d3-array";
import type { Level } from "../lib/levels";
import { superscript } from "../lib/levels";

export interface Tick {
  readonly at: number;
  readonly text: string;
}

/** Ticks of a log10 axis: whole powers of ten, at most `most` of them. */
export function powers(low: number, high: number, most = 6): Tick[] {
  const step = Math.max(1, Math.ceil((high - low) / most));
  const first = Math.ceil(low / step) * step;
  const found: Tick[] = [];
  for (let at = first; at <= high + 1e-9; at += step) {
    found.push({ at, text: at === 0 ? "1" : at === 1 ? "10" : `10${superscript(at)}` });
  }
  return found;
}

export function plainTicks(low: number, high: number, most = 6): Tick[] {
  return ticks(low, high, most).map((at) => ({ at, text: `${at}` }));
}

/** Ticks of an axis of steps, ranks or words, of which there are no halves. */
export function wholeTicks(low: number, high: number, most = 6): Tick[] {
  return plainTicks(low, high, most).filter((tick) => Number.isInteger(tick.at));
}

/** The smallest and the largest number, with room; a range of one decade at least. */
export function extent(lines: readonly (readonly Level[])[]): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const line of lines) {
    for (const level of line) {
      if (typeof level !== "number") continue;
      if (level < low) low = level;
      if (level > high) high = level;
    }
  }
  if (low > high) return [-1, 1];
  const middle = (low + high) / 2;
  if (high - low < 1) return [middle - 0.5, middle + 0.5];
  const room = (high - low) * 0.04;
  return [low - room, high + room];
}
