/** What the part "Sentences" says: every sentence is made from the numbers beside it. */
import type { Point, Series } from "../chart/series";
import { type Level, spoken } from "../lib/levels";
import type {
  AccuracyTable,
  CellAccuracy,
  Prediction,
  SeedAccuracy,
  SentenceAnswer,
  SentenceWord,
  Share,
} from "../lib/schema";

export const NAMES = { rnn: "RNN", lstm: "LSTM" } as const;
export const COLOURS = { rnn: "--first", lstm: "--second" } as const;
export const DASHES = { rnn: "7 4", lstm: "none" } as const;

/** "61 %"; never 100 % or 0 % of what is not all or nothing. */
export function percent(share: number): string {
  if (share > 0 && share < 0.001) return "under 0.1 %";
  if (share < 1 && share > 0.999) return "over 99.9 %";
  const digits = share < 0.02 || share > 0.98 ? 1 : 0;
  return `${Number((share * 100).toFixed(share === 0 || share === 1 ? 0 : digits))} %`;
}

/** 18 119, with spaces that do not break. */
export function thousands(count: number): string {
  return `${count}`.replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count === 0 ? "no" : count} ${count === 1 ? one : many}`;
}

/** "a", "a and b", "a, b and c". */
export function listed(words: readonly string[]): string {
  return words.length < 2
    ? (words[0] ?? "")
    : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

const quoted = (word: string) => `“${word}”`;
const withRole = (words: readonly SentenceWord[], role: SentenceWord["role"]) =>
  words.filter((word) => word.role === role).map((word) => word.text);

/** Who has to agree with whom, and over how many steps. */
export function distanceText(answer: SentenceAnswer): string {
  const subject = withRole(answer.words, "subject")[0] ?? "";
  const attractors = withRole(answer.words, "attractor");
  const far =
    answer.distance === 1
      ? `The verb stands right after its subject ${quoted(subject)}.`
      : `The verb stands ${answer.distance} steps after its subject ${quoted(subject)}.`;
  if (attractors.length === 0) return `${far} No noun of the other number lies between them.`;
  return `${far} Between them ${attractors.length === 1 ? "is one noun" : `are ${attractors.length} nouns`} of the other number: ${listed(attractors.map(quoted))}.`;
}

/** "The RNN prefers “sit” to “sits”, 61 % to 39 %: wrong." */
export function predictionText(one: Prediction, answer: SentenceAnswer): string {
  const other = one.right ? answer.wrong_form : answer.right_form;
  const share = one.right ? one.share : 1 - one.share;
  return `The ${NAMES[one.cell]} prefers ${quoted(one.preferred)} to ${quoted(other)}, ${percent(share)} to ${percent(1 - share)}: ${one.right ? "right" : "wrong"}.`;
}

/** How much smaller one number is than another, both as log10. */
export function foldText(from: Level, to: Level): string {
  if (typeof from !== "number" || typeof to !== "number") return `is ${spoken(to)} there`;
  const change = to - from;
  if (Math.abs(change) < 0.02) return "stays the same";
  return change < 0 ? `shrinks ${spoken(-change)}-fold` : `grows ${spoken(change)}-fold`;
}

/** From the word before the verb back to the subject. */
export function gradientText(answer: SentenceAnswer, which: "d_word" | "d_h"): string {
  const subject = answer.words.findIndex((word) => word.role === "subject");
  const last = answer.words.length - 2;
  if (subject === last)
    return `The subject is the last word that is read: there is no way back to go.`;
  const told = answer.predictions.map(
    (one) =>
      `in the ${NAMES[one.cell]} it ${foldText(one[which][last] ?? "padding", one[which][subject] ?? "padding")}`,
  );
  const steps = last - subject;
  return `On its way of ${counted(steps, "step")} from the last word before the verb back to the subject, the gradient changes: ${told.join("; ")}.`;
}

const interval = (one: Share) =>
  `${percent(one.value)} (${percent(one.low)} to ${percent(one.high)}, n = ${thousands(one.count)})`;

/** What the gradients of two trained networks can be read for, and what not. */
export function meaningText(answer: SentenceAnswer, which: "d_word" | "d_h"): string {
  const gap = (one: Prediction) => Math.abs(one.right_logit - one.wrong_logit).toFixed(1);
  const gaps = listed(answer.predictions.map((one) => `the ${NAMES[one.cell]} by ${gap(one)}`));
  const read = `Both networks are trained, and have made their choice: ${gaps} in logits. What is drawn is by how much a small change of each word would still move it, and not how training got there.`;
  const kept =
    "A network that holds on to a bit firmly lets small changes of it die out, so that a small gradient at the subject may mean that it was forgotten, or that it is safely kept.";
  return `${read} ${kept} ${rankingText(answer, which)}`;
}

/** That the sizes of the gradients of two networks rank nothing. */
function rankingText(answer: SentenceAnswer, which: "d_word" | "d_h"): string {
  const subject = answer.words.findIndex((word) => word.role === "subject");
  const [first, second] = answer.predictions;
  const [a, b] = [first?.[which][subject], second?.[which][subject]];
  const rule =
    "Compare words within one network; between networks sizes are no ranking, accuracy is.";
  if (!first || !second || typeof a !== "number" || typeof b !== "number") return rule;
  const [larger, smaller] = a >= b ? [first, second] : [second, first];
  const times = `At “${answer.words[subject]?.text}” the ${NAMES[larger.cell]}’s is ${spoken(Math.abs(a - b))} times the ${NAMES[smaller.cell]}’s`;
  const both =
    first.right === second.right
      ? `and ${first.right ? "both are right" : "both are wrong"}`
      : `and the ${NAMES[(first.right ? first : second).cell]} is right`;
  return `${times}, ${both}. ${rule}`;
}

/** Accuracy within and beyond the distances of training. */
export function reachText(table: AccuracyTable): string {
  const told = (pick: (cell: CellAccuracy) => Share) =>
    table.cells.map((cell) => `the ${NAMES[cell.cell]} ${interval(pick(cell))}`).join(", ");
  return `At distances 1 to ${table.trained_to}, as in training: ${told((cell) => cell.within)}. At ${table.trained_to + 1} to ${table.tested_to}, longer than any in training: ${told((cell) => cell.beyond)}.`;
}

/** What attractors cost each network. */
export function attractorText(table: AccuracyTable, beyond: boolean): string {
  const told = table.cells.map((cell) => {
    const shares = beyond ? cell.by_attractors_beyond : cell.by_attractors;
    const [first, last] = [shares[0], shares.at(-1)];
    if (!first || !last) return "";
    return `the ${NAMES[cell.cell]} goes from ${percent(first.value)} without attractors to ${percent(last.value)} with ${shares.length - 1}`;
  });
  const [from, to] = beyond
    ? [table.trained_to + 1, table.tested_to]
    : [table.attractors_from, table.trained_to];
  return `At distances ${from} to ${to}, ${told.join("; ")}.`;
}

const KNOWN = 0.99;

/** After how many steps of training each network had nearly all verbs right. */
export function learningText(table: AccuracyTable): string {
  const told = table.cells.map((cell) => {
    const at = cell.curve.findIndex((_, from) =>
      cell.curve.slice(from).every((point) => point.value >= KNOWN),
    );
    const point = cell.curve[at];
    return point === undefined
      ? `the ${NAMES[cell.cell]} does not within its ${thousands(table.steps)} steps (${percent(cell.curve.at(-1)?.value ?? 0)} at the end)`
      : `the ${NAMES[cell.cell]} does from step ${thousands(point.step)} on`;
  });
  const sentences = thousands(table.validation * table.trained_to);
  return `Who gets ${percent(KNOWN)} of the verbs right and stays there? ${capital(told.join("; "))}. This is of the ${sentences} validation sentences, ${table.validation} of each distance from 1 to ${table.trained_to}; those above are test sentences, ${table.tests} of each distance and number of attractors, more of which are long.`;
}

const range = (values: readonly number[]) => {
  const [low, high] = [percent(Math.min(...values)), percent(Math.max(...values))];
  return low === high ? low : `${low} to ${high}`;
};

const RANKS = ["the best", "the second best", "the third best", "the fourth best"];

/** The one that ships among those from other seeds: how much of its accuracy is luck. */
export function luckText(table: AccuracyTable): string {
  const told = table.cells
    .filter((cell) => cell.others.length > 0)
    .map((cell) => {
      const better = cell.others.filter((one) => one.within > cell.within.value).length;
      const level = cell.others.some((one) => one.within === cell.within.value);
      const place = better === cell.others.length ? "the worst" : (RANKS[better] ?? "one");
      const rank = level ? `level with ${place}` : place;
      const [within, beyond] = [
        cell.others.map((one) => one.within),
        cell.others.map((one) => one.beyond),
      ];
      return `the ${NAMES[cell.cell]} shown, with ${percent(cell.within.value)} and ${percent(cell.beyond.value)}, is ${rank}; the ${cell.others.length} others get ${range(within)} and ${range(beyond)}`;
    });
  if (told.length === 0) return "";
  const count = (table.cells[0]?.others.length ?? 0) + 1;
  return `How much is luck? Each network was trained from ${count} seeds. At the distances of training and beyond them, ${told.join("; ")}.`;
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

const style = (cell: CellAccuracy) => ({
  name: `${NAMES[cell.cell]}`,
  colour: COLOURS[cell.cell],
  dash: DASHES[cell.cell],
  marker: cell.cell === "rnn" ? ("circle" as const) : ("square" as const),
});

const withIntervals = (shares: readonly Share[], first: number) =>
  shares.map(({ value, low, high, count }, at) => ({ x: first + at, value, low, high, count }));

/** The network that ships, and thin beside it those from other seeds. */
function seriesOf(
  table: AccuracyTable,
  shipped: (cell: CellAccuracy) => readonly Point[],
  further: (one: SeedAccuracy) => readonly Point[],
): Series[] {
  return [
    ...table.cells.map((cell) => ({ ...style(cell), points: shipped(cell) })),
    ...table.cells.flatMap((cell) =>
      cell.others.map((one) => ({
        ...style(cell),
        name: `${NAMES[cell.cell]}, seed ${one.seed}`,
        of: NAMES[cell.cell],
        points: further(one),
      })),
    ),
  ];
}

const without = (values: readonly number[], first: number) =>
  values.map((value, at) => ({ x: first + at, value }));

export function distanceSeries(table: AccuracyTable): Series[] {
  return seriesOf(
    table,
    (cell) => withIntervals(cell.by_distance, 1),
    (one) => without(one.by_distance, 1),
  );
}

export function attractorSeries(table: AccuracyTable, beyond: boolean): Series[] {
  return seriesOf(
    table,
    (cell) => withIntervals(beyond ? cell.by_attractors_beyond : cell.by_attractors, 0),
    (one) => without(beyond ? one.by_attractors_beyond : one.by_attractors, 0),
  );
}

const points = (one: CellAccuracy | SeedAccuracy) =>
  one.curve.map(({ step, value }) => ({ x: step, value }));

export function learningSeries(table: AccuracyTable): Series[] {
  return seriesOf(table, points, points);
}
