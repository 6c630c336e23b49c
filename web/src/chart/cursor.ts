/** Where a key moves the cursor of a chart of `count` places; undefined where the key moves nothing. */
export function moved(key: string, now: number, count: number): number | undefined {
  const move = MOVES[key];
  return move === undefined ? undefined : Math.min(count - 1, Math.max(0, now + move));
}

const MOVES: Readonly<Record<string, number>> = {
  ArrowLeft: -1,
  ArrowDown: -1,
  ArrowRight: 1,
  ArrowUp: 1,
  PageDown: -10,
  PageUp: 10,
  Home: -Infinity,
  End: Infinity,
};
