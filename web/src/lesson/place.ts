/** Where in the lesson the reader is: in the address, and in the bar that stays at the top. */
import { keep } from "../lib/address.svelte";
import { SECTIONS, type SectionId } from "./sections";

/** A plain click, which the page follows itself; with a key held it is the browser's. */
export function leave(event: MouseEvent): boolean {
  return event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
}

/** Shows a section and puts the focus on its heading. */
export function leadTo(id: SectionId): void {
  const heading = document.getElementById(`lesson-${id}`);
  if (heading === null) return;
  keep("lesson", `s=${id}`);
  heading.scrollIntoView();
  heading.focus({ preventScroll: true });
}

/** The last section whose heading has come up to the top of the window. */
export function sectionInView(): SectionId | undefined {
  let found: SectionId | undefined;
  for (const { id } of SECTIONS) {
    const heading = document.getElementById(`lesson-${id}`);
    if (heading === null || heading.getBoundingClientRect().top > 0.3 * window.innerHeight) break;
    found = id;
  }
  return found;
}
