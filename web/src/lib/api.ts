/** Asking the server; in a page exported to a folder, looking up what was computed beforehand. */
import type { Endpoints } from "./schema";

declare global {
  interface Window {
    /** Answers by endpoint and canonical request: only in an exported page, from data.js. */
    carouselAnswers?: Readonly<Record<string, unknown>>;
  }
}

export class Refused extends Error {}

export const exported = (): boolean => window.carouselAnswers !== undefined;

/** JSON with its keys in order, so that equal requests are equal texts. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/**
 * The answer of one endpoint.
 *
 * Throws Refused with a sentence for the reader; an AbortError where `signal` was used.
 */
export async function ask<Name extends keyof Endpoints>(
  name: Name,
  request: Endpoints[Name]["request"],
  signal?: AbortSignal,
): Promise<Endpoints[Name]["result"]> {
  const answers = window.carouselAnswers;
  if (answers !== undefined) {
    const found = answers[`${name} ${canonical(request)}`];
    if (found === undefined) {
      throw new Refused(
        "This page was exported without a server, and this was not computed for it. The figures show the last settings that were: “carousel learn” computes all.",
      );
    }
    return found as Endpoints[Name]["result"];
  }
  const response = await fetch(`api/${name}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request),
    signal: signal ?? null,
  }).catch((error: unknown) => {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Is “carousel learn” still running?");
  });
  if (!response.ok) {
    const said = (await response.json().catch(() => ({}))) as { error?: string };
    throw new Refused(said.error ?? `The server refused (${response.status}).`);
  }
  return (await response.json()) as Endpoints[Name]["result"];
}
