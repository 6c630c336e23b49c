/** Shares over a linear axis, with the interval that their count allows. */
import type { Table } from "./Figure.svelte";

export interface Point {
  readonly x: number;
  readonly value: number; // 0 .. 1
  readonly low?: number;
  readonly high?: number;
  readonly count?: number;
}

export interface Series {
  readonly name: string;
  readonly colour: string; // a custom property of theme.css
  readonly dash: string;
  readonly marker: "circle" | "square";
  readonly points: readonly Point[];
  readonly of?: string; // the name of the series that this is one more of, drawn thin
}

/** The lower end of the axis of shares: a whole tenth below everything that is drawn. */
export function floorOf(series: readonly Series[], also: number): number {
  const lows = series.flatMap((one) => one.points.map((point) => point.low ?? point.value));
  return Math.max(0, Math.floor(Math.min(also, ...lows) * 10 - 0.5) / 10);
}

export function tableOf(series: readonly Series[], xName: string): Table {
  const first = series[0]?.points ?? [];
  const intervalsOf = (one: Series) => one.points.some((point) => point.low !== undefined);
  const columns = (one: Series) => (intervalsOf(one) ? ["", " from", " to", " of n"] : [""]);
  return {
    header: [
      xName,
      ...series.flatMap((one) => columns(one).map((column) => `${one.name}${column}`)),
    ],
    rows: first.map((point, at) => [
      `${point.x}`,
      ...series.flatMap((one) => {
        const intervals = intervalsOf(one);
        const here = one.points[at];
        const numbers = [here?.value, here?.low, here?.high].slice(0, intervals ? 3 : 1);
        const shown = numbers.map((number) => (number === undefined ? "" : number.toFixed(4)));
        return intervals ? [...shown, `${here?.count ?? ""}`] : shown;
      }),
    ]),
  };
}
