/**
 * Equations as words: "c_t = f_t · c_t-1 + i_t · g_t". A symbol may have an index after "_" and an
 * exponent after "^"; "∂L/∂c_t" is a fraction. One text makes the MathML, the plain text and the
 * table of symbols.
 */
export type Token =
  | { readonly kind: "operator"; readonly text: string }
  | { readonly kind: "number"; readonly text: string }
  | { readonly kind: "function"; readonly text: string }
  | { readonly kind: "symbol"; readonly symbol: Sym }
  | { readonly kind: "gradient"; readonly symbol: Sym };

export interface Sym {
  readonly name: string; // as it stands in the text, without the exponent
  readonly base: string;
  readonly index: string;
  readonly exponent: string;
  readonly colour: string | undefined;
}

const OPERATORS = new Set(["=", "+", "−", "·", "(", ")", "‖", "′"]);
const FUNCTIONS = new Set(["tanh", "tanh²", "σ", "relu"]);

/** The colours of the theme by symbol; the GRU's gates have those of the gates they resemble. */
const COLOURS: Readonly<Record<string, string>> = {
  f: "--f",
  i: "--i",
  g: "--g",
  o: "--o",
  c: "--c",
  h: "--h",
  x: "--x",
  z: "--f",
  r: "--i",
  n: "--g",
  q: "--i",
};

export function tokens(equation: string): Token[] {
  return equation.split(" ").map((text): Token => {
    if (OPERATORS.has(text)) return { kind: "operator", text };
    if (FUNCTIONS.has(text)) return { kind: "function", text };
    if (/^[0-9.]+$/.test(text)) return { kind: "number", text };
    if (text.startsWith("∂L/∂")) return { kind: "gradient", symbol: symbol(text.slice(4)) };
    return { kind: "symbol", symbol: symbol(text) };
  });
}

function symbol(text: string): Sym {
  const [name = "", exponent = ""] = text.split("^", 2);
  const [base = "", index = ""] = name.split("_", 2);
  // a_f is the forget gate's, and has its colour
  const colour = COLOURS[base] ?? (base === "a" ? COLOURS[index] : undefined);
  return { name, base, index: index.replace("-", "−"), exponent, colour };
}

/** An equation cut before its signs, so that a line can break there. */
export function chunks(equation: string): Token[][] {
  const found: Token[][] = [];
  let depth = 0;
  for (const token of tokens(equation)) {
    const text = token.kind === "operator" ? token.text : "";
    const breaks = depth === 0 && (text === "=" || text === "+" || text === "−" || text === "·");
    depth += text === "(" ? 1 : text === ")" ? -1 : 0;
    if (found.length === 0 || breaks) found.push([token]);
    else found.at(-1)?.push(token);
  }
  return found;
}

/** Symbols within a sentence: "c_t-1" as "cₜ₋₁"; and what is no number "is", instead of "=". */
export function indexed(text: string): string {
  return text
    .replaceAll("_t-1", "ₜ₋₁")
    .replace(/_t(?![a-z])/g, "ₜ")
    .replace(/ = (?=exactly|infinite|minus|−infinite|not )/g, " is ");
}

/** As text for tables, without spaces within brackets. */
export function plainEquation(equation: string): string {
  return indexed(equation)
    .replaceAll("( ", "(")
    .replaceAll(" )", ")")
    .replaceAll(" (", "(")
    .replaceAll("‖ xₜ ‖", "‖xₜ‖")
    .replaceAll("^2", "²")
    .replaceAll(" ′", "′")
    .replace(/([=+−·])\(/g, "$1 (");
}

/** The symbols of equations, each once, in their order. */
export function symbolsOf(equations: readonly string[]): Sym[] {
  const found = new Map<string, Sym>();
  for (const token of equations.flatMap(tokens)) {
    if (token.kind === "symbol" && !found.has(token.symbol.name))
      found.set(token.symbol.name, token.symbol);
  }
  return [...found.values()];
}

const GATES: Readonly<Record<string, string>> = {
  f: "forget gate",
  i: "input gate",
  g: "candidate",
  o: "output gate",
  r: "reset gate",
  z: "update gate",
  n: "candidate",
};

const STATES: Readonly<Record<string, string>> = {
  c_t: "cell state after this step",
  "c_t-1": "cell state before this step",
  h_t: "hidden state after this step",
  "h_t-1": "hidden state before this step",
  x_t: "input of this step",
  q_t: "what the candidate gets from the past",
};

/** What a symbol stands for. */
export function meaning({ name, base, index }: Sym): string {
  const state = STATES[name];
  if (state !== undefined) return state;
  if (base === "a") return `pre-activation of the ${GATES[index] ?? "activation"}: its argument`;
  if (base === "W") {
    return index.startsWith("i")
      ? "weights of the input, learned"
      : "recurrent weights of all units, learned";
  }
  if (base === "b") return "bias, learned";
  if (base === "p") return "peephole weight, learned: how the gate sees c";
  if (base === "L") return "the loss";
  return `${GATES[base] ?? base}, after its activation`;
}

/** The name in a run's values of what a symbol is; undefined of what is learned. */
export function valueNameOf({ name, base }: Sym): string | undefined {
  if (base === "a") return name;
  if (base === "W" || base === "b" || base === "p") return undefined;
  if (name === "x_t") return "x_norm";
  return name.endsWith("_t-1") ? `${base}_prev` : base;
}
