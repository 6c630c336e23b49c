/**
 * What is kept of a reader's attempts, in this browser alone: a versioned text that is checked when
 * it is read, wherever it comes from.
 */
import type { Bank } from "../lib/schema";
import { type Asked, isRight } from "./attempt";

export const PROGRESS_VERSION = 1;

/** all: drawn over all objectives, which is what passes; one objective; what was missed. */
export type Kind = "all" | "objective" | "missed";
const KINDS: readonly string[] = ["all", "objective", "missed"] satisfies Kind[];

export interface Attempt {
  readonly kind: Kind;
  readonly asked: readonly Asked[];
  readonly picked: readonly number[]; // by question, as far as it has come; indices into its options
  readonly at: number; // the question that is shown; asked.length: the review
}

export interface Score {
  readonly kind: Kind;
  readonly right: number;
  readonly of: number;
}

export interface Progress {
  readonly version: typeof PROGRESS_VERSION;
  readonly scores: readonly Score[]; // of finished attempts, the oldest first
  readonly last: Readonly<Record<string, boolean>>; // by question: whether the last answer was right
  readonly current: Attempt | null;
}

export const EMPTY: Progress = { version: PROGRESS_VERSION, scores: [], last: {}, current: null };

export const MOST_SCORES = 1000;

export function begun(progress: Progress, kind: Kind, asked: readonly Asked[]): Progress {
  return { ...progress, current: { kind, asked, picked: [], at: 0 } };
}

/** After an answer to the question that is shown; the last one finishes the attempt. */
export function answered(progress: Progress, bank: Bank, picked: number): Progress {
  const current = progress.current;
  const asked = current?.asked[current.at];
  if (!current || !asked || current.picked.length !== current.at) return progress;
  const now = { ...current, picked: [...current.picked, picked] };
  const last = { ...progress.last, [asked.question]: isRight(bank, asked.question, picked) };
  const scores =
    now.picked.length < now.asked.length
      ? progress.scores
      : [...progress.scores, score(now, bank)].slice(-MOST_SCORES);
  return { ...progress, scores, last, current: now };
}

/** To the next question, or from the last one to the review. */
export function moved(progress: Progress): Progress {
  const current = progress.current;
  if (!current || current.at >= current.picked.length) return progress;
  return { ...progress, current: { ...current, at: current.at + 1 } };
}

export function left(progress: Progress): Progress {
  return { ...progress, current: null };
}

export function score(attempt: Attempt, bank: Bank): Score {
  return {
    kind: attempt.kind,
    right: results(attempt, bank).filter(Boolean).length,
    of: attempt.asked.length,
  };
}

/** By question that was answered: whether it was right. */
export function results(attempt: Attempt, bank: Bank): boolean[] {
  return attempt.picked.map((picked, at) =>
    isRight(bank, attempt.asked[at]?.question ?? "", picked),
  );
}

/** The questions of an attempt whose answers were wrong. */
export function missed(attempt: Attempt, bank: Bank): string[] {
  const right = results(attempt, bank);
  return attempt.asked.filter((_, at) => right[at] === false).map((one) => one.question);
}

/** The best of the attempts over all objectives, by share. */
export function best(progress: Progress): Score | undefined {
  return progress.scores
    .filter((one) => one.kind === "all")
    .reduce<Score | undefined>(
      (found, one) => (!found || one.right * found.of > found.right * one.of ? one : found),
      undefined,
    );
}

export interface Mastery {
  readonly id: string;
  readonly name: string;
  readonly right: number; // questions whose last answer was right
  readonly of: number;
}

export function mastery(progress: Progress, bank: Bank): Mastery[] {
  return bank.objectives.map(({ id, name }) => {
    const about = bank.questions.filter((one) => one.objective === id);
    return {
      id,
      name,
      right: about.filter((one) => progress.last[one.id]).length,
      of: about.length,
    };
  });
}

/**
 * Progress from a text, or undefined where it is none. Questions that the bank no longer has are
 * left out, and so is an attempt that asks one of them.
 */
export function read(text: string, bank: Bank): Progress | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(raw) || raw.version !== PROGRESS_VERSION) return undefined;
  if (!Array.isArray(raw.scores) || !raw.scores.every(isScore) || !isRecord(raw.last))
    return undefined;
  if (raw.scores.length > MOST_SCORES) return undefined;
  if (!Object.values(raw.last).every((one) => typeof one === "boolean")) return undefined;
  const known = new Set(bank.questions.map((one) => one.id));
  return {
    version: PROGRESS_VERSION,
    scores: raw.scores.map(({ kind, right, of }) => ({ kind, right, of })),
    last: Object.fromEntries(
      Object.entries(raw.last).filter(([id]) => known.has(id)),
    ) as Progress["last"],
    current: isAttempt(raw.current, bank) ? raw.current : null,
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}

function isScore(value: unknown): value is Score {
  if (!isRecord(value)) return false;
  const { kind, right, of } = value;
  return KINDS.includes(kind as string) && isCount(right) && isCount(of) && of > 0 && right <= of;
}

function isAttempt(value: unknown, bank: Bank): value is Attempt {
  if (!isRecord(value)) return false;
  const { kind, asked, picked, at } = value;
  if (!KINDS.includes(kind as string) || !Array.isArray(asked) || !Array.isArray(picked))
    return false;
  if (asked.length === 0 || picked.length > asked.length || !isCount(at)) return false;
  if (at > picked.length || picked.length > at + 1) return false;
  const counts = asked.map((one: unknown) => options(one, bank));
  return (
    counts.every((count) => count > 0) &&
    picked.every((one: unknown, place) => isCount(one) && one < (counts[place] ?? 0))
  );
}

/** How many options a question has that is asked in an order of all of them; 0: it is no question. */
function options(asked: unknown, bank: Bank): number {
  if (!isRecord(asked) || !Array.isArray(asked.order)) return 0;
  const count = bank.questions.find((one) => one.id === asked.question)?.options.length ?? 0;
  const order = [...asked.order].sort((a, b) => a - b);
  return order.length === count && order.every((one, at) => one === at) ? count : 0;
}
