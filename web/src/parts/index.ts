import type { Component } from "svelte";
import { exported } from "../lib/api";
import Cell from "./Cell.svelte";
import Explorer from "./Explorer.svelte";
import Lesson from "./Lesson.svelte";
import Model from "./Model.svelte";
import Quiz from "./Quiz.svelte";
import Sentences from "./Sentences.svelte";

export interface Part {
  readonly path: string;
  readonly name: string;
  readonly view: Component;
  readonly hidden?: () => boolean;
}

/** The parts of the page, in the order of the navigation. Each view begins with `<h1 tabindex="-1">`. */
export const PARTS: readonly Part[] = [
  { path: "lesson", name: "Lesson", view: Lesson },
  { path: "explorer", name: "Explorer", view: Explorer },
  { path: "cell", name: "Cell", view: Cell },
  { path: "sentences", name: "Sentences", view: Sentences },
  { path: "quiz", name: "Quiz", view: Quiz },
  { path: "model", name: "Your model", view: Model, hidden: exported },
];
