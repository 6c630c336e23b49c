/** Names and marks that the views of a model share. */
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
