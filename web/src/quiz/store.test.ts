import { beforeEach, expect, test, vi } from "vitest";

type Module = typeof import("./store");
type Heard = (event: { key: string; newValue: string | null }) => void;

const KEY = "carousel.quiz";
let store: Module;
let held: Map<string, string>;
let listeners: Set<Heard>;
let room: number; // the longest text that the storage takes
let blocked: boolean;

beforeEach(async () => {
  held = new Map();
  listeners = new Set();
  room = 100;
  blocked = false;
  const guarded = <T>(act: () => T): T => {
    if (blocked) throw new Error("SecurityError");
    return act();
  };
  vi.stubGlobal("window", {
    localStorage: {
      getItem: (key: string) => guarded(() => held.get(key) ?? null),
      removeItem: (key: string) => guarded(() => held.delete(key)),
      setItem: (key: string, text: string) =>
        guarded(() => {
          if (text.length > room) throw new Error("QuotaExceededError");
          held.set(key, text);
        }),
    },
    addEventListener: (_: string, heard: Heard) => listeners.add(heard),
    removeEventListener: (_: string, heard: Heard) => listeners.delete(heard),
  });
  vi.resetModules();
  store = await import("./store");
});

function elsewhere(newValue: string | null, key = KEY): void {
  if (newValue === null) held.delete(key);
  else held.set(key, newValue);
  for (const heard of listeners) heard({ key, newValue });
}

test("what is kept is read again, and gone when erased", () => {
  expect(store.kept()).toBe(null);
  expect(store.keep("one")).toBe(true);
  expect(store.kept()).toBe("one");
  expect(held.get(KEY)).toBe("one");
  expect(store.keep(null)).toBe(true);
  expect(store.kept()).toBe(null);
  expect(held.size).toBe(0);
});

test("after a text that did not fit, that text counts and not the last one that did", () => {
  store.keep("fits");
  room = 5;
  expect(store.keep("too long")).toBe(false);
  expect(store.lasts()).toBe(false);
  expect(store.kept()).toBe("too long");
  expect(held.get(KEY)).toBe("fits"); // the next visit has at least that
  room = 100;
  expect(store.keep("there is room again")).toBe(true);
  expect(store.lasts()).toBe(true);
  expect(store.kept()).toBe("there is room again");
  expect(held.get(KEY)).toBe("there is room again");
});

test("an erased text stays erased after one that did not fit", () => {
  store.keep("fits");
  room = 5;
  store.keep("too long");
  expect(store.keep(null)).toBe(true);
  expect(store.kept()).toBe(null);
  expect(held.size).toBe(0);
});

test("without a storage the visit remembers", () => {
  blocked = true;
  expect(store.kept()).toBe(null);
  expect(store.keep("one")).toBe(false);
  expect(store.kept()).toBe("one");
  expect(store.keep(null)).toBe(false);
  expect(store.kept()).toBe(null);
});

test("what another tab erased does not come back from memory", () => {
  store.keep("one");
  elsewhere(null);
  expect(store.kept()).toBe(null);
});

test("another tab is followed until nobody asks", () => {
  const told: (string | null)[] = [];
  const stop = store.follow((text) => told.push(text));
  elsewhere("theirs");
  elsewhere("of somebody else", "another.key");
  elsewhere(null);
  expect(told).toEqual(["theirs", null]);
  stop();
  elsewhere("later");
  expect(told).toHaveLength(2);
});

test("a tab whose text did not fit goes on by itself", () => {
  const told: (string | null)[] = [];
  store.follow((text) => told.push(text));
  room = 5;
  store.keep("too long");
  elsewhere("theirs");
  expect(told).toEqual([]);
  expect(store.kept()).toBe("too long");
});
