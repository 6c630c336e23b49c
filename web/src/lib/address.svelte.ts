/**
 * The state of the page in its address: `#/explorer?v=1&steps=100&first.cell=gru&lock=first.cell`.
 *
 * A part declares its state as a request's fields (schema.ts); what stands in the address is checked
 * against their limits, and whatever does not fit falls back to the default.
 */
import type { FieldKind, Fields } from "./schema";

export const VERSION = "1";

interface Address {
  part: string;
  query: string;
}

function current(): Address {
  const [path = "", query = ""] = window.location.hash.replace(/^#\/?/, "").split("?", 2);
  return { part: path || "lesson", query };
}

export const address: Address = $state(current());

window.addEventListener("hashchange", () => {
  Object.assign(address, current());
});

/** Goes to a part, with a new entry in the history. */
export function go(part: string, query = ""): void {
  window.location.hash = query ? `/${part}?${query}` : `/${part}`;
}

/** Writes the state of the part that is shown into the address; the history keeps its length. */
export function keep(part: string, query: string): void {
  if (address.part !== part) return;
  address.query = query;
  window.history.replaceState(null, "", query ? `#/${part}?${query}` : `#/${part}`);
}

/** The state that a query says: defaults, and what in the query differs from them and is allowed. */
export function read<T extends object>(fields: Fields, defaults: T, query: string): T {
  const given = new URLSearchParams(query);
  if ((given.get("v") ?? VERSION) !== VERSION) return structuredClone(defaults);
  return readGroup(fields, defaults as Record<string, unknown>, given, "") as T;
}

function readGroup(
  fields: Fields,
  defaults: Record<string, unknown>,
  given: URLSearchParams,
  prefix: string,
): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(fields)) {
    const key = prefix + name;
    if (field.kind === "group") {
      const inner = defaults[name] as Record<string, unknown>;
      found[name] = readGroup(field.fields, inner, given, `${key}.`);
    } else {
      const text = given.get(key);
      const value = text === null ? undefined : readOne(field, text);
      found[name] = value === undefined ? defaults[name] : value;
    }
  }
  return found;
}

/** One value, or undefined where the text is none that the field allows. */
function readOne(field: FieldKind, text: string): unknown {
  if (field.optional && text === "") return null;
  if (field.kind === "choice") return field.choices.includes(text) ? text : undefined;
  if (field.kind === "flag") return text === "1" ? true : text === "0" ? false : undefined;
  if (field.kind === "text") return text.length <= field.most ? text : undefined;
  if (field.kind !== "int" && field.kind !== "float") return undefined;
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (!(value >= field.low && value <= field.high)) return undefined;
  return field.kind === "int" && !Number.isInteger(value) ? undefined : value;
}

/** The query that says a state: what differs from the defaults, and the version. */
export function write<T extends object>(fields: Fields, defaults: T, state: T): string {
  const said = new URLSearchParams();
  writeGroup(
    fields,
    defaults as Record<string, unknown>,
    state as Record<string, unknown>,
    said,
    "",
  );
  const text = said.toString();
  return text === "" ? "" : `v=${VERSION}&${text}`;
}

function writeGroup(
  fields: Fields,
  defaults: Record<string, unknown>,
  state: Record<string, unknown>,
  said: URLSearchParams,
  prefix: string,
): void {
  for (const [name, field] of Object.entries(fields)) {
    const [value, usual] = [state[name], defaults[name]];
    if (field.kind === "group") {
      type Group = Record<string, unknown>;
      writeGroup(field.fields, usual as Group, value as Group, said, `${prefix}${name}.`);
    } else if (value !== usual && field.kind !== "list") {
      const text =
        value === null ? "" : typeof value === "boolean" ? (value ? "1" : "0") : `${value}`;
      said.set(prefix + name, text);
    }
  }
}
