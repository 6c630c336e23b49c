/** An answer of the server that follows what is asked for; a newer question drops the older one. */
import { ask } from "./api";
import type { Endpoints } from "./schema";

export interface Asked<Result> {
  readonly answer: Result | undefined;
  readonly trouble: string; // why there is no answer to the latest question
}

/** To be called while a component is made: `const found = asked("explore", () => settings)`. */
export function asked<Name extends keyof Endpoints>(
  name: Name,
  request: () => Endpoints[Name]["request"],
): Asked<Endpoints[Name]["result"]> {
  let answer = $state.raw<Endpoints[Name]["result"]>();
  let trouble = $state("");
  $effect(() => {
    const running = new AbortController();
    ask(name, request(), running.signal).then(
      (found) => {
        if (running.signal.aborted) return;
        [answer, trouble] = [found, ""];
      },
      (error: Error) => {
        if (error.name !== "AbortError") trouble = error.message;
      },
    );
    return () => running.abort();
  });
  return {
    get answer() {
      return answer;
    },
    get trouble() {
      return trouble;
    },
  };
}
