/**
 * The state of the page in its address: `#/explorer?v=1&steps=100&first.cell=gru&lock=first.cell`.
 *
 * A part declares its state as a request's fields (schema.ts); what stands in the address is checked
 * against their limits, and whatever does not fit falls back to the default.
 */
import { untrack } from "svelte";
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

/** The query that each part had last: the navigation leads back to it, locks included. */
const left: Record<string, string> = $state({ [address.part]: address.query });

/** Whether an address came that another version of the page made; until the reader was told. */
export const notice = $state({ another: isOfAnotherVersion(address.query) });

window.addEventListener("hashchange", () => {
  Object.assign(address, current());
  left[address.part] = address.query;
  // Before the parts write their own state over it.
  if (isOfAnotherVersion(address.query)) notice.another = true;
});

/** The address of a part, as it was left. */
export function addressOf(part: string): string {
  const query = left[part];
  return query ? `#/${part}?${query}` : `#/${part}`;
}

/** Whether the address was made by a version of the page whose settings this one does not read. */
export function isOfAnotherVersion(query: string): boolean {
  return (new URLSearchParams(query).get("v") ?? VERSION) !== VERSION;
}

/** Writes the state of the part that is shown into the address; the history keeps its length. */
export function keep(part: string, query: string): void {
  if (address.part !== part) return;
  address.query = query;
  left[part] = query;
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

/** The query that says a state: what differs from the defaults, the version, and what is locked. */
export function write<T extends object>(
  fields: Fields,
  defaults: T,
  state: T,
  locks: ReadonlySet<string> = NONE,
): string {
  const said = new URLSearchParams();
  writeGroup(
    fields,
    defaults as Record<string, unknown>,
    state as Record<string, unknown>,
    said,
    "",
  );
  const parts = [said.toString()];
  if (locks.size > 0) parts.push(`lock=${[...locks].join(",")}`);
  const text = parts.filter((part) => part !== "").join("&");
  return text === "" ? "" : `v=${VERSION}&${text}`;
}

const NONE: ReadonlySet<string> = new Set();

/** The names of all single fields: "steps", "first.cell". */
export function names(fields: Fields, prefix = ""): string[] {
  return Object.entries(fields).flatMap(([name, field]) =>
    field.kind === "group" ? names(field.fields, `${prefix}${name}.`) : [prefix + name],
  );
}

/** What a teacher's link locks: single fields; a group's name locks all that is in it. */
export function locksIn(fields: Fields, query: string): ReadonlySet<string> {
  const given = new URLSearchParams(query);
  if ((given.get("v") ?? VERSION) !== VERSION) return NONE;
  const said = (given.get("lock") ?? "").split(",");
  return new Set(
    names(fields).filter((name) => said.some((one) => one === name || name.startsWith(`${one}.`))),
  );
}

/** `wanted`, but what is locked as it is in `now`. */
export function unlessLocked<T extends object>(
  wanted: T,
  now: T,
  locks: ReadonlySet<string>,
  prefix = "",
): T {
  const found: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(wanted)) {
    const own = (now as Record<string, unknown>)[name];
    const key = prefix + name;
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      found[name] = unlessLocked(value, own as object, locks, `${key}.`);
    } else {
      found[name] = locks.has(key) ? own : value;
    }
  }
  return found as T;
}

/**
 * The state of a part, kept in the address and read from it: also when a link within the page, or
 * the browser's own buttons, change it. Made while a component is set up.
 */
export class Kept<T extends object> {
  value: T = $state() as T;
  locks: ReadonlySet<string> = $state.raw(NONE);
  #written: string;

  constructor(
    readonly part: string,
    readonly fields: Fields,
    readonly defaults: T,
  ) {
    this.#written = address.query;
    this.value = read(fields, defaults, address.query);
    this.locks = locksIn(fields, address.query);
    $effect(() => {
      const query = address.query;
      if (address.part !== part || query === this.#written) return;
      this.#written = query;
      this.value = read(fields, defaults, query);
      this.locks = locksIn(fields, query);
    });
    $effect(() => {
      const query = this.query();
      if (untrack(() => query === this.#written)) return;
      this.#written = query;
      untrack(() => keep(part, query));
    });
  }

  /** Whether a control is locked. */
  locked(name: string): boolean {
    return this.locks.has(name);
  }

  /** The query that says this state, or another one of the same part. */
  query(state: T = this.value, locks: ReadonlySet<string> = this.locks): string {
    return write(this.fields, this.defaults, state, locks);
  }
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
