/** Names and marks that the views of a model share. */
import type { ModelEnd, ModelLayer } from "../lib/schema";

export const SEVERITY: Readonly<Record<string, string>> = {
  error: "Error",
  warning: "Warning",
  info: "Remark",
};

/** A severity by its shape, so that it is not told by colour alone. */
export const MARK: Readonly<Record<string, string>> = { error: "✖", warning: "▲", info: "●" };

export const QUANTITY: Readonly<Record<string, string>> = {
  d_h: "total dL/dh",
  d_h_injected: "injected dL/dh",
  d_c: "total dL/dc",
  carousel: "carousel alone",
};

/** The symbol of the equations whose colour stands for a gate or a way; of a GRU, that of its kin. */
export const COLOUR: Readonly<Record<string, string>> = {
  direct: "--c",
  i: "--i",
  f: "--f",
  g: "--g",
  o: "--o",
  r: "--i",
  z: "--f",
  n: "--g",
  h: "--h",
  injected: "--x",
};

/** A number of evidence, in three digits. */
export function measured(value: number | string): string {
  if (typeof value === "string") return value === "nan" ? "NaN" : value;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e6))
    return value.toExponential(2).replace("e", " × 10^");
  return `${Number(value.toPrecision(3))}`;
}

type Steps = Pick<ModelLayer, "boundaries" | "cuts" | "ends" | "whole" | "batch" | "steps">;

const MOST_ENDS = 12; // that are marked one by one

const counted = (count: number, one: string) => `${count} ${one}${count === 1 ? "" : "s"}`;

/** The ends that a chart marks: of many, the first and the last. */
function marked(ends: readonly ModelEnd[]): readonly ModelEnd[] {
  return ends.length <= MOST_ENDS ? ends : [ends[0] as ModelEnd, ends.at(-1) as ModelEnd];
}

/** What happens at which step, each step once. */
export function marksOf(layer: Steps): { at: number; name: string }[] {
  const told = new Map<number, string[]>();
  const tell = (at: number, what: string) => told.set(at, [...(told.get(at) ?? []), what]);
  for (const at of layer.cuts) tell(at, `the state was detached before step ${at}`);
  for (const at of layer.boundaries)
    if (!layer.cuts.includes(at)) tell(at, `a later call begins at step ${at}`);
  for (const { step, sequences } of marked(layer.ends))
    tell(
      step,
      `${counted(sequences, "sequence")} ${sequences === 1 ? "ends" : "end"} before step ${step}`,
    );
  return [...told].map(([at, what]) => ({ at, name: what.join("; ") }));
}

export function bandsNote({ ends }: Steps): string {
  return ends.length === 0
    ? "Median over the sequences; the band holds 80 % of them."
    : "The lines are medians over the sequences that are there at each step; the bands hold 80 % of them.";
}

export function cutsNote({ boundaries, cuts }: Steps): string {
  const count = new Set([...boundaries, ...cuts]).size;
  return count === 0
    ? ""
    : ` Upright lines: ${counted(count, "place")} where a later call begins or the state was detached.`;
}

/** That lines may jump where sequences end, for others are compared from there on. */
export function endsNote({ ends, whole, batch, steps }: Steps): string {
  const [first, last] = [ends[0], ends.at(-1)];
  if (first === undefined || last === undefined) return "";
  const where =
    ends.length === 1
      ? `before step ${first.step}`
      : `between steps ${first.step} and ${last.step}`;
  const some = ends.length > MOST_ENDS ? "the first and the last of these ends" : "these ends";
  return ` ${counted(batch - whole, "sequence")} of ${batch} ${batch - whole === 1 ? "ends" : "end"} ${where}, ${whole} ${whole === 1 ? "reaches" : "reach"} step ${steps - 1}: a line may jump where sequences end, since others are left. Upright lines mark ${some}.`;
}
