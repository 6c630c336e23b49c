/** The lesson's numbers, for whatever stands inside of it. */
import { getContext, setContext } from "svelte";
import type { Lesson } from "../lib/schema";

const KEY = Symbol("lesson");

export function give(lesson: Lesson): void {
  setContext(KEY, lesson);
}

export function lesson(): Lesson {
  return getContext<Lesson>(KEY);
}
