/**
 * Norms travel as their log10, and where there is no number, as the reason by name: zero, underflow,
 * infinite, NaN and padding (not recorded) are five different things in every picture and table.
 */
export type Level = number | "zero" | "infinite" | "nan" | "padding";

const SUPERSCRIPTS: Readonly<Record<string, string>> = {
  "-": "⁻",
  "0": "⁰",
  "1": "¹",
  "2": "²",
  "3": "³",
  "4": "⁴",
  "5": "⁵",
  "6": "⁶",
  "7": "⁷",
  "8": "⁸",
  "9": "⁹",
};

export function superscript(exponent: number): string {
  return [...`${exponent}`].map((one) => SUPERSCRIPTS[one] ?? one).join("");
}

/** A number of which the log10 is known, in words: "0.52", "9.5 × 10⁻⁷", "zero", "not a number". */
export function spoken(level: Level): string {
  if (level === "zero") return "exactly zero";
  if (level === "infinite") return "infinite";
  if (level === "nan") return "not a number";
  if (level === "padding") return "not recorded";
  if (level > -3 && level < 4) return `${Number((10 ** level).toPrecision(3))}`;
  let exponent = Math.floor(level);
  let digits = (10 ** (level - exponent)).toPrecision(2);
  if (digits === "10") [digits, exponent] = ["1.0", exponent + 1];
  return `${digits} × 10${superscript(exponent)}`;
}

/** As `spoken`, and said where it is beyond what the dtype has. */
export function spokenIn(level: Level, smallest: number, largest = Infinity): string {
  const text = spoken(level);
  if (typeof level !== "number") return text;
  return level < smallest ? `${text} (underflows)` : level > largest ? `${text} (overflows)` : text;
}

/** For a table that machines read: the log10, or the name. */
export function plain(level: Level): string {
  return typeof level === "number" ? `${level}` : level;
}
