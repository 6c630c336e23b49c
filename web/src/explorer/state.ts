/** What the explorer's address holds: the settings, the multiplier, and which views are open. */
import type { Line } from "../chart/LineChart.svelte";
import {
  type Curves,
  type Exploration,
  type Fields,
  POWER_REQUEST_DEFAULTS,
  POWER_REQUEST_FIELDS,
  type Products,
  SETTINGS_DEFAULTS,
  SETTINGS_FIELDS,
  type Settings,
} from "../lib/schema";
import { distinct } from "./sentences";

type Writable<T> = {
  -readonly [K in keyof T]: T[K] extends object ? Writable<T[K]> : T[K];
};

/** Every set of the deeper figures, in this order, as an address says it. */
const OPEN = [
  "",
  "products",
  "spectra",
  "matrix",
  "products-spectra",
  "products-matrix",
  "spectra-matrix",
  "products-spectra-matrix",
] as const;
export type Open = (typeof OPEN)[number];
export type Deeper = "products" | "spectra" | "matrix";
const DEEPER: readonly Deeper[] = ["products", "spectra", "matrix"];

export function isOpen(open: Open, which: Deeper): boolean {
  return open.split("-").includes(which);
}

/** With one of them opened or closed; the others stay as they are. */
export function opened(open: Open, which: Deeper, on: boolean): Open {
  return DEEPER.filter((one) => (one === which ? on : isOpen(open, one))).join("-") as Open;
}

export type State = Writable<Settings> & {
  m: number; // the multiplier, and its steps
  n: number;
  linear: boolean; // the axis of its bars
  open: Open; // the deeper figures that are open
  of: "first" | "second"; // whose matrix
};

export const FIELDS = {
  ...SETTINGS_FIELDS,
  m: POWER_REQUEST_FIELDS.factor,
  n: POWER_REQUEST_FIELDS.steps,
  linear: { kind: "flag", optional: false },
  open: { kind: "choice", choices: OPEN, optional: false },
  of: { kind: "choice", choices: ["first", "second"], optional: false },
} as const satisfies Fields;

export const DEFAULTS: State = {
  ...SETTINGS_DEFAULTS,
  m: POWER_REQUEST_DEFAULTS.factor,
  n: POWER_REQUEST_DEFAULTS.steps,
  linear: false,
  open: "",
  of: "first",
};

/** What can be locked. */
export const LOCKABLE = [
  ...["cell", "init", "hidden", "forget_bias", "gain", "gradient"].flatMap((name) => [
    `first.${name}`,
    `second.${name}`,
  ]),
  "steps",
  "signal",
  "loss",
  "seed",
  "m",
  "n",
];

export function settingsOf(state: State): Settings {
  const { first, second, steps, signal, loss, seed } = state;
  return { first: { ...first }, second: { ...second }, steps, signal, loss, seed };
}

const FIRST = { colour: "--first", mark: "circle" } as const;
const SECOND = { colour: "--second", mark: "square" } as const;

/** The lines of the first figure: a colour and a mark for each network, a dash for each quantity. */
export function lines(found: Exploration): Line[] {
  const names = distinct(found.first.name, found.second.name);
  return [...linesOf(found.first, names[0], FIRST), ...linesOf(found.second, names[1], SECOND)];
}

function linesOf(one: Curves, name: string, look: typeof FIRST | typeof SECOND): Line[] {
  const found: Line[] = [{ name: `${name}: dL/dh`, ...look, levels: one.d_h }];
  if (one.d_c.length) found.push({ name: `${name}: dL/dc`, ...look, dash: "9 4", levels: one.d_c });
  if (one.carousel.length) {
    found.push({ name: `${name}: carousel alone`, ...look, dash: "2 3", levels: one.carousel });
  }
  return found;
}

export function productLines(found: Products): Line[] {
  const names = distinct(found.first.name, found.second.name);
  return [
    { name: names[0], ...FIRST, levels: found.first.log10_by_lag },
    { name: names[1], ...SECOND, levels: found.second.log10_by_lag },
  ];
}

const DASHES = ["none", "9 4", "5 3", "2 3"];

/** A line for each network and lag. */
export function singularLines(found: Products): Line[] {
  const names = distinct(found.first.name, found.second.name);
  return [found.first, found.second].flatMap((one, which) =>
    one.singular.map(({ lag, log10 }, at) => ({
      name: `${names[which]}: lag ${lag}`,
      ...(which === 0 ? FIRST : SECOND),
      dash: DASHES[at] ?? "none",
      levels: log10,
    })),
  );
}
