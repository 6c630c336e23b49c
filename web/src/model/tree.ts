/** Layers by their paths in the model, as a tree. */
import type { ModelEntry } from "../lib/schema";

export interface Branch {
  readonly path: string; // of its first part on; no two are the same
  readonly label: string;
  readonly entry: ModelEntry | null; // null: a module that holds layers
  readonly branches: readonly Branch[];
}

export interface Row {
  readonly branch: Branch;
  readonly level: number; // from 1
  readonly position: number; // among its siblings, from 1
  readonly siblings: number;
  readonly parent: string | null;
}

interface Growing {
  entry: ModelEntry | null;
  readonly inner: Map<string, Growing>;
}

/** `encoder.lstm.l0` and `encoder.lstm.l1` as one branch with two leaves; lone branches are joined. */
export function grow(entries: readonly ModelEntry[]): Branch[] {
  const root: Growing = { entry: null, inner: new Map() };
  for (const entry of entries) {
    let at = root;
    for (const part of entry.name.split(".")) {
      let next = at.inner.get(part);
      if (!next) {
        next = { entry: null, inner: new Map() };
        at.inner.set(part, next);
      }
      at = next;
    }
    at.entry = entry;
  }
  return [...root.inner].map(([label, one]) => branch(label, label, one));
}

function branch(path: string, label: string, one: Growing): Branch {
  const [only, ...others] = one.inner;
  if (one.entry === null && only && others.length === 0) {
    return branch(`${path}.${only[0]}`, `${label}.${only[0]}`, only[1]);
  }
  const branches = [...one.inner].map(([part, inner]) => branch(`${path}.${part}`, part, inner));
  return { path, label, entry: one.entry, branches };
}

/** What is seen of the tree, from top to bottom, where the branches of `closed` are closed. */
export function visible(branches: readonly Branch[], closed: ReadonlySet<string>): Row[] {
  const rows: Row[] = [];
  const add = (some: readonly Branch[], level: number, parent: string | null) => {
    some.forEach((one, at) => {
      rows.push({ branch: one, level, position: at + 1, siblings: some.length, parent });
      if (!closed.has(one.path)) add(one.branches, level + 1, one.path);
    });
  };
  add(branches, 1, null);
  return rows;
}
