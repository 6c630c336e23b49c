/** The few marks in the quiz's texts: `code`, x_t or x_{t-1}, 10^{-7}. */
export interface Piece {
  readonly kind: "text" | "code" | "sub" | "sup";
  readonly text: string;
}

const MARKS =
  /`(?<code>[^`]*)`|_\{(?<sub>[^}]*)\}|\^\{(?<sup>[^}]*)\}|(?<=[A-Za-z])_(?<short>[A-Za-z0-9]+)/gu;

export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let from = 0;
  const add = (kind: Piece["kind"], content: string) => {
    if (content !== "") found.push({ kind, text: content });
  };
  for (const mark of text.matchAll(MARKS)) {
    add("text", text.slice(from, mark.index));
    const { code, sub, sup, short } = mark.groups as Record<string, string | undefined>;
    if (code !== undefined) add("code", code);
    else if (sup !== undefined) add("sup", minus(sup));
    else add("sub", minus(sub ?? short ?? ""));
    from = mark.index + mark[0].length;
  }
  add("text", text.slice(from));
  return found;
}

/** A hyphen is no minus sign. */
function minus(text: string): string {
  return text.replaceAll("-", "−");
}
