/** The sections of the lesson, in their order; `#/lesson?s=gates` leads to one. */
export const SECTIONS = [
  { id: "memory", name: "What a recurrent network remembers" },
  { id: "back", name: "The learning signal travels back" },
  { id: "product", name: "A product of Jacobians" },
  { id: "numbers", name: "Three numbers" },
  { id: "slopes", name: "What the squashing function adds" },
  { id: "real", name: "A real network" },
  { id: "exploding", name: "The other way to fail" },
  { id: "carousel", name: "The constant error carousel" },
  { id: "addition", name: "Why an addition helps" },
  { id: "original", name: "1997: no forgetting at all" },
  { id: "gates", name: "The three gates" },
  { id: "fails", name: "When it still fails" },
  { id: "total", name: "Total and injected" },
  { id: "far", name: "Words that are far apart" },
  { id: "questions", name: "Questions people ask" },
  { id: "takeaways", name: "What to take away" },
] as const;

export type SectionId = (typeof SECTIONS)[number]["id"];

/** The section that a query names, if there is one. */
export function sectionOf(query: string): SectionId | undefined {
  const said = new URLSearchParams(query).get("s");
  return SECTIONS.find((one) => one.id === said)?.id;
}
