/**
 * Asking while a slider moves: the newest wish counts, and none queue behind each other.
 *
 * One request is under way at a time, and at most one wish waits for it: a newer wish takes its
 * place. What is under way for longer than `patience_ms` is given up for the newer wish; a quick
 * answer is let through, or a slider that moves faster than the server would never show anything.
 */
export class Latest<Request, Result> {
  #running: { abort: AbortController; since: number } | undefined;
  #waiting: { request: Request } | undefined;

  constructor(
    readonly send: (request: Request, signal: AbortSignal) => Promise<Result>,
    readonly found: (result: Result, request: Request) => void,
    readonly failed: (error: Error) => void,
    readonly patience_ms = 250,
    readonly now: () => number = () => performance.now(),
  ) {}

  ask(request: Request): void {
    const running = this.#running;
    if (running === undefined) {
      void this.#run(request);
      return;
    }
    this.#waiting = { request };
    if (this.now() - running.since > this.patience_ms) running.abort.abort();
  }

  /** Gives up what is under way: nobody looks any more. */
  stop(): void {
    this.#waiting = undefined;
    this.#running?.abort.abort();
  }

  get busy(): boolean {
    return this.#running !== undefined;
  }

  async #run(request: Request): Promise<void> {
    const running = { abort: new AbortController(), since: this.now() };
    this.#running = running;
    try {
      const result = await this.send(request, running.abort.signal);
      if (!running.abort.signal.aborted) this.found(result, request);
    } catch (error) {
      const gone = running.abort.signal.aborted;
      if (!gone) this.failed(error instanceof Error ? error : new Error(`${error}`));
    }
    this.#running = undefined;
    const next = this.#waiting;
    this.#waiting = undefined;
    if (next !== undefined) void this.#run(next.request);
  }
}
