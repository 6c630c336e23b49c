/**
 * How an attempt is drawn and scored: `src/carousel/learn/quiz/_attempt.py` in TypeScript, held
 * together with it by draws.json.
 */
import type { Bank, Question } from "../lib/schema";

export interface Asked {
  readonly question: string; // its id
  readonly order: readonly number[]; // indices into the question's options
}

type Drawn = Pick<Question, "id" | "objective"> & { readonly options: readonly unknown[] };
type Drawable = { readonly objectives: readonly { readonly id: string }[] } & {
  readonly questions: readonly Drawn[];
};

const LIMIT = 2 ** 32;

/** mulberry32: whole numbers from 0 to 2^32 - 1. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

/** A shuffled copy (Fisher & Yates). */
export function shuffled<X>(entries: readonly X[], random: () => number): X[] {
  const found = [...entries];
  for (let at = found.length - 1; at > 0; at--) {
    const other = Math.floor((random() * (at + 1)) / LIMIT);
    [found[at], found[other]] = [found[other] as X, found[at] as X];
  }
  return found;
}

/** Draws an attempt: as even over the objectives as the count allows. No objective: of all. */
export function draw(
  bank: Drawable,
  count: number,
  seed: number,
  objectives: readonly string[] = [],
): Asked[] {
  const random = generator(seed);
  const wanted = bank.objectives
    .map((one) => one.id)
    .filter((one) => objectives.length === 0 || objectives.includes(one));
  const piles = shuffled(wanted, random).map((name) =>
    shuffled(
      bank.questions.filter((one) => one.objective === name),
      random,
    ),
  );
  const turns: Drawn[] = [];
  for (let at = 0; piles.some((pile) => at < pile.length); at++) {
    for (const pile of piles) {
      const question = pile[at];
      if (question !== undefined) turns.push(question);
    }
  }
  return settle(shuffled(turns.slice(0, count), random), random);
}

/** These questions again, in a new order: what was missed. */
export function only(bank: Drawable, names: readonly string[], seed: number): Asked[] {
  const random = generator(seed);
  const questions = names.flatMap((name) => bank.questions.filter((one) => one.id === name));
  return settle(shuffled(questions, random), random);
}

function settle(questions: readonly Drawn[], random: () => number): Asked[] {
  return questions.map((one) => ({
    question: one.id,
    order: shuffled(
      one.options.map((_, at) => at),
      random,
    ),
  }));
}

/** Whether so many right answers are enough: 7 of 10 at 70 %. */
export function passed(right: number, of: number, percent: number): boolean {
  return of > 0 && right * 100 >= of * percent;
}

/** The fewest right answers that pass. */
export function needed(of: number, percent: number): number {
  return Math.ceil((of * percent) / 100);
}

export function isRight(bank: Bank, question: string, picked: number): boolean {
  return bank.questions.find((one) => one.id === question)?.options[picked]?.right ?? false;
}
